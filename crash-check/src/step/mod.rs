//! Kill at every instruction.
