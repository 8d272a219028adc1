//! The mailbox: whoever is killed, what was handed over is received, whole and in order, by somebody;
//! what the dead had in hand comes again; no slot and no block is lost, in whichever order slots and
//! memory are cleared up.

mod ground;
mod receive;
mod rest;
mod send;
