//! The two formats of the picture.

mod svg;
mod text;
