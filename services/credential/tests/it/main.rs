//! What only the whole crate can prove: tokens against key sets, rules over histories, the golden
//! vectors, and what the crate depends on. One binary, so that it links once.

mod dependencies;
mod keyset;
mod properties;
mod token;
mod vectors;
