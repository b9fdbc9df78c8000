//! What JavaScript does for the host. See `glue.js`.

use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;

use super::answer::Source;

#[wasm_bindgen(module = "/src/host/glue.js")]
extern "C" {
    pub(super) type Promised;
    #[wasm_bindgen(constructor)]
    pub(super) fn new() -> Promised;
    #[wasm_bindgen(method, getter)]
    pub(super) fn promise(this: &Promised) -> Promise;
    #[wasm_bindgen(method)]
    pub(super) fn resolve(this: &Promised, value: &JsValue);
    #[wasm_bindgen(method)]
    pub(super) fn reject(this: &Promised, error: &JsValue);

    pub(super) fn wait(promise: &Promise, number: u32, tell: &JsValue);
    pub(super) fn bell(number: u32, tell: &JsValue) -> JsValue;
    pub(super) fn strike(ring: &JsValue);
    pub(super) fn alarm(milliseconds: f64, number: u32, tell: &JsValue) -> JsValue;
    pub(super) fn silence(timer: &JsValue);

    pub(crate) fn randomize(bytes: &mut [u8]);
    pub(super) fn verifies(key: &str, algorithm: &str, message: Vec<u8>, signature: Vec<u8>) -> Promise;
    pub(super) fn signs(key: Vec<u8>, algorithm: &str, message: Vec<u8>) -> Promise;

    pub(crate) type Reading;
    #[wasm_bindgen(method)]
    pub(crate) fn next(this: &Reading) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn cancel(this: &Reading);

    #[derive(Clone)]
    pub(crate) type Asked;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(request: JsValue) -> Asked;
    #[wasm_bindgen(method)]
    pub(crate) fn head(this: &Asked) -> String;
    #[wasm_bindgen(method)]
    pub(crate) fn whole(this: &Asked) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn reading(this: &Asked) -> Reading;
    #[wasm_bindgen(method)]
    pub(crate) fn on_leaving(this: &Asked, number: u32, tell: &JsValue);

    pub(crate) fn get_all(store: &JsValue, names: Vec<JsValue>) -> Promise;
    pub(crate) fn put_text(store: &JsValue, name: &str, text: &str, about: Option<&str>) -> Promise;
    pub(crate) fn object(namespace: &JsValue, name: &str) -> JsValue;

    pub(crate) type Storage;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(state: &JsValue) -> Storage;
    #[wasm_bindgen(method)]
    pub(crate) fn load(this: &Storage, key: &str) -> Option<String>;
    #[wasm_bindgen(method)]
    pub(crate) fn store(this: &Storage, key: &str, text: &str) -> bool;
    #[wasm_bindgen(method)]
    pub(crate) fn remove(this: &Storage, key: &str);
    #[wasm_bindgen(method)]
    pub(crate) fn all(this: &Storage) -> String;
    #[wasm_bindgen(method)]
    pub(crate) fn wake(this: &Storage, at: f64) -> Promise;
    #[wasm_bindgen(method, js_name = forget)]
    pub(crate) fn forget_all(this: &Storage) -> Promise;

    pub(crate) type Sockets;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(state: &JsValue) -> Sockets;
    #[wasm_bindgen(method)]
    pub(crate) fn all(this: &Sockets) -> Vec<JsValue>;
    pub(crate) fn name_of(socket: &JsValue) -> Option<String>;
    pub(crate) fn name_as(socket: &JsValue, name: &str);
    pub(crate) fn put(socket: &JsValue, message: JsValue) -> bool;
    pub(crate) fn hang_up(socket: &JsValue);

    pub(crate) type Line;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(to: &JsValue, first: &str) -> Line;
    #[wasm_bindgen(method, js_name = next)]
    pub(crate) fn next_message(this: &Line) -> Promise;
    #[wasm_bindgen(method, js_name = cancel)]
    pub(crate) fn leave(this: &Line);

    pub(crate) type Sent;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(to: &JsValue, method: &str, url: &str, fields: &str, body: Option<Uint8Array>) -> Sent;
    #[wasm_bindgen(method)]
    pub(crate) fn answered(this: &Sent) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn take(this: &Sent) -> Option<Uint8Array>;
    #[wasm_bindgen(method, js_name = next)]
    pub(crate) fn next_chunk(this: &Sent) -> Promise;
    #[wasm_bindgen(method, js_name = cancel)]
    pub(crate) fn abort(this: &Sent);

    pub(crate) fn whole_answer(status: u16, fields: &str, body: Option<Uint8Array>) -> JsValue;
    pub(crate) fn streamed_answer(status: u16, fields: &str, source: Source) -> JsValue;
}
