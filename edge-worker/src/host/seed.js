// Signs for the fleet. Nothing is decided here.

// What a key of Ed25519 in PKCS#8 begins with (RFC 8410 §7); its seed is the rest.
const HEAD = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

// The public half of the key of a seed, 32 bytes, and behind it the signature of a message.
export const signs_with_seed = async (seed, message) => {
  const key = await crypto.subtle.importKey('pkcs8', new Uint8Array([...HEAD, ...seed]), 'Ed25519', true, ['sign']);
  const [{ x }, signature] = await Promise.all([
    crypto.subtle.exportKey('jwk', key), crypto.subtle.sign('Ed25519', key, message),
  ]);
  const half = atob(x.replaceAll('-', '+').replaceAll('_', '/'));
  return new Uint8Array([...Array.from(half, (byte) => byte.charCodeAt(0)), ...new Uint8Array(signature)]);
};
