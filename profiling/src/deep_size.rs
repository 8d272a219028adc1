//! How large a value is, with all that it owns: the counterpart of pympler's `asizeof`.

/// What a type does to be measured: `#[derive(get_size2::GetSize)]`, with the crate
/// [`get-size2`](https://docs.rs/get-size2) among the program's own dependencies. The standard
/// library's types have it.
pub use get_size2::GetSize;
use get_size2::StandardTracker;

/// Bytes of a value: its own, and those of everything that it owns, however deep. What several of
/// its parts share (`Rc`, `Arc`) counts once.
///
/// The types say what they own: buffers with their whole capacity, but neither what an allocator
/// rounds up nor what the standard library keeps beside the elements of a map.
/// [`heap::measure`](crate::heap::measure()) around a clone says to the byte what *that* allocates.
/// Walks the whole value.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use profiling::deep_size;
///
/// let words = vec![String::from("four"), String::from("letters")];
/// assert_eq!(deep_size(&words), 24 + 2 * 24 + 4 + 7);
///
/// let shared = Arc::new([0u8; 1000]);
/// let many = vec![shared; 10];
/// assert!((1000..1200).contains(&deep_size(&many)));
/// ```
///
/// A type of one's own:
///
/// ```
/// use get_size2::GetSize;
///
/// #[derive(GetSize)]
/// struct Row {
///     name: String,
///     values: Vec<u64>,
/// }
///
/// let row = Row { name: "row".into(), values: vec![0; 10] };
/// assert_eq!(profiling::deep_size(&row), 48 + 3 + 80);
/// ```
pub fn deep_size<T: GetSize>(value: &T) -> usize {
    value.get_size_with_tracker(StandardTracker::new()).0
}
