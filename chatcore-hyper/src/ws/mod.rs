//! Sockets: the handshake, the frames, and the task that each of them is.

mod close;
mod decode;
mod encode;
mod handshake;
mod meter;
mod socket;
mod work;

pub(crate) use handshake::handshake;
