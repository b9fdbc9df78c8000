//! The function as a gateway that is governed: what its control plane says is kept in the table that its environments share.

use portcullis_tests::gateway::Host;
use portcullis_tests::plane::{Plane, sees, served};
use portcullis_tests::wait;

#[test]
fn a_function_serves_what_its_control_plane_says() {
    let mut plane = Plane::start();
    let function = plane.member_on(Host::Lambda, &plane.url(), "function").start();
    sees(&function, &["up"]);
    plane.push(&["b", "up"]);
    sees(&function, &["b", "up"]);
    wait::expect("the function to tell of it", || {
        served(&function);
        let known = plane.known("function");
        known["state"] == "current" && known["host"] == "function" && known["version"] == 2
    });
    plane.gateway.process().kill();
    function.begin_anew();
    assert_eq!(served(&function), ["b", "up"], "an environment begins with what was given last");
    plane.gateway.restart();
    plane.push(&["c", "up"]);
    sees(&function, &["c", "up"]);
}
