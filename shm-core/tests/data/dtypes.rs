//! Every kind of element that numpy and we both have, in every form in which Python writes it; with the
//! real interpreter.

use std::io::Write;
use std::process::Stdio;

use shm_core::{ColumnType, Error, RawSegment, ShmSafe, dtype};

use super::numpy::{Everything, Inner, python};

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
struct Aligned {
    a: u8,
    _before_b: [u8; 7],
    b: f64,
    c: u16,
    _behind_c: [u8; 6],
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C, packed)]
struct Packed {
    a: u8,
    b: f64,
    c: [Aligned; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C, align(32))]
struct Wide {
    wide: [i64; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
struct Nested {
    c: Aligned,
}

/// What a data frame's records are, with text of fixed length.
#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C, packed)]
struct Trade {
    date: i64,
    val: f64,
    is_open: u8,
    side: [u8; 6],
    name: [u32; 3],
}

type Check = fn(&str) -> Result<(), Error>;

/// numpy's type, as an argument of `numpy.dtype`; ours; and which of `descr`, `str`, `repr` say it all.
const SAME: &[(&str, Check, [bool; 3])] = &[
    ("'i1'", dtype::check::<i8>, [true; 3]),
    ("'u1'", dtype::check::<u8>, [true; 3]),
    ("'i2'", dtype::check::<i16>, [true; 3]),
    ("'u2'", dtype::check::<u16>, [true; 3]),
    ("'i4'", dtype::check::<i32>, [true; 3]),
    ("'u4'", dtype::check::<u32>, [true; 3]),
    ("'i8'", dtype::check::<i64>, [true; 3]),
    ("'u8'", dtype::check::<u64>, [true; 3]),
    ("'f4'", dtype::check::<f32>, [true; 3]),
    ("'f8'", dtype::check::<f64>, [true; 3]),
    ("'?'", dtype::check::<u8>, [true; 3]),
    ("'f2'", dtype::check::<u16>, [true; 3]),
    ("'f2'", dtype::check::<[u8; 2]>, [true; 3]),
    ("'c8'", dtype::check::<[f32; 2]>, [true; 3]),
    ("'c16'", dtype::check::<[f64; 2]>, [true; 3]),
    ("'S5'", dtype::check::<[u8; 5]>, [true; 3]),
    ("'S1'", dtype::check::<u8>, [true; 3]),
    ("'V6'", dtype::check::<[u8; 6]>, [true; 3]),
    ("'U3'", dtype::check::<[u32; 3]>, [true; 3]),
    ("'M8[ns]'", dtype::check::<i64>, [true; 3]),
    ("'m8[25s]'", dtype::check::<i64>, [true; 3]),
    // Of a type with dimensions `descr` says how many bytes it has.
    ("('f4', (2, 3))", dtype::check::<[[f32; 3]; 2]>, [false, true, true]),
    ("('S4', 3)", dtype::check::<[[u8; 4]; 3]>, [false, true, true]),
    ("('c8', (2,))", dtype::check::<[[f32; 2]; 2]>, [false, true, true]),
    ("[('a', 'u1'), ('b', 'f8'), ('c', ALIGNED, 2)]", dtype::check::<Packed>, [true, false, false]),
    // `str` and `repr` of a record say nothing of the gaps in a record within it.
    ("[('c', ALIGNED)]", |text| dtype::check::<Nested>(text), [true, false, false]),
    // With `align=True` the list that `repr` has does not say where.
    ("ALIGNED", dtype::check::<Aligned>, [true, true, false]),
    (
        "{'names': ['c', 'a', 'b'], 'formats': ['u2', 'u1', 'f8'], 'offsets': [16, 0, 8], 'itemsize': 24}",
        dtype::check::<Aligned>,
        [false, true, true],
    ),
    (
        "(numpy.record, [('a', 'i2', (3, 2)), (('a title', 'b'), 'u4')])",
        dtype::check::<Inner>,
        [true; 3],
    ),
    (
        "[('date', 'M8[ns]'), ('val', 'f8'), ('is_open', '?'), ('side', 'S6'), ('name', 'U3')]",
        dtype::check::<Trade>,
        [true; 3],
    ),
];

/// What is refused, and what the error says.
const DIFFERENT: &[(&str, Check, &[&str])] = &[
    ("'>f8'", dtype::check::<f64>, &["other byte order", "newbyteorder"]),
    ("'O'", dtype::check::<u64>, &["pointers to objects"]),
    ("'i4'", dtype::check::<i64>, &["i4", "<i8"]),
    ("'u4'", dtype::check::<f32>, &["u4", "<f4"]),
    ("'S5'", dtype::check::<[u8; 6]>, &["S5", "(6,)"]),
    ("[('a', 'i2', (2, 3)), ('b', 'u4')]", dtype::check::<Inner>, &["`a`", "(2, 3)", "(3, 2)"]),
    ("[('a', 'i2', (3, 2)), ('b', '>u4')]", dtype::check::<Inner>, &["`b`", "other byte order"]),
    ("[('a', 'i2', (3, 2)), ('b', 'O')]", dtype::check::<Inner>, &["`b`", "pointers"]),
    ("[('a', 'i2', (3, 2)), ('c', 'u4')]", dtype::check::<Inner>, &["`c`", "no field"]),
    ("[('a', 'i2', (3, 2))]", dtype::check::<Inner>, &["`b`", "no such field"]),
    (
        "[('a', 'u1'), ('b', 'f8'), ('c', 'u2')]",
        dtype::check::<Aligned>,
        &["`b`", "at byte 1", "at byte 8"],
    ),
    (
        "{'names': ['a', 'b', 'c'], 'formats': ['u1', 'f8', 'u2'], 'offsets': [0, 8, 16], 'itemsize': 32}",
        dtype::check::<Aligned>,
        &["32 bytes", "24 bytes"],
    ),
    (
        "{'names': ['a', 'b', 'c'], 'formats': ['u1', 'f8', 'u2'], 'offsets': [0, 8, 10], 'itemsize': 24}",
        dtype::check::<Aligned>,
        &["`c`", "over `b`"],
    ),
    (
        "[('a', 'u1'), ('b', 'f8'), ('c', [('a', 'u1'), ('b', '>f8')], 2)]",
        dtype::check::<Packed>,
        &["`c.b`", "at byte 1"],
    ),
];

/// What numpy makes of our descriptions; and ours of the sizes.
fn ours() -> Vec<(String, usize, Check)> {
    fn one<T: ShmSafe>() -> (String, usize, Check) {
        (dtype::describe::<T>(), size_of::<T>(), dtype::check::<T>)
    }
    vec![
        one::<i8>(),
        one::<u8>(),
        one::<i16>(),
        one::<u16>(),
        one::<i32>(),
        one::<u32>(),
        one::<i64>(),
        one::<u64>(),
        one::<f32>(),
        one::<f64>(),
        one::<[u8; 7]>(),
        one::<[[i16; 2]; 3]>(),
        one::<[Inner; 2]>(),
        one::<[[Packed; 2]; 1]>(),
        one::<Inner>(),
        one::<Everything>(),
        one::<Aligned>(),
        one::<Packed>(),
        one::<Wide>(),
        one::<Trade>(),
    ]
}

/// For each type: `descr`, `str`, `repr` and the size, a line each.
const SCRIPT: &str = r#"
import ast, sys, numpy
ALIGNED = numpy.dtype([("a", "u1"), ("b", "f8"), ("c", "u2")], align=True)
for line in sys.argv[1:]:
    dtype = numpy.dtype(eval(line))
    try:
        descr = str(dtype.descr)
    except ValueError:
        descr = "-"
    for text in [descr, str(dtype), repr(dtype), str(dtype.itemsize)]:
        print(text.replace("\n", " "))
"#;

fn run(script: &str, arguments: &[String]) -> Option<Vec<String>> {
    let mut child = python()?
        .arg("-")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn every_type_is_the_same_in_every_form_in_which_python_writes_it() {
    let ours = ours();
    let theirs = SAME.iter().map(|(text, ..)| (*text).to_owned());
    let others = DIFFERENT.iter().map(|(text, ..)| (*text).to_owned());
    let all: Vec<String> =
        theirs.chain(others).chain(ours.iter().map(|our| our.0.clone())).collect();
    let Some(lines) = run(SCRIPT, &all) else { return };
    let mut forms = lines.chunks(4);
    for (text, check, says_all) in SAME {
        let forms = forms.next().unwrap();
        for (form, says_all) in forms.iter().zip(says_all) {
            assert_eq!(check(form).is_ok(), *says_all, "{text}, {form}: {:?}", check(form));
        }
    }
    for (text, check, says) in DIFFERENT {
        let forms = forms.next().unwrap();
        let error = check(&forms[1]).expect_err(text).to_string();
        assert!(says.iter().all(|said| error.contains(said)), "{text}: {error}");
    }
    for (text, size, check) in ours {
        let forms = forms.next().unwrap();
        check(&forms[1]).unwrap();
        assert_eq!((&forms[3], check(&text).is_ok()), (&size.to_string(), true), "{text}");
    }
}

/// A record array that numpy laid out and filled; the type says where everything is.
const FILLS: &str = r#"
import sys, numpy
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
shm = SharedMemory(sys.argv[1], **({"track": False} if sys.version_info >= (3, 13) else {}))
if sys.version_info < (3, 13):
    resource_tracker.unregister(shm._name, "shared_memory")
dtype = [("date", "M8[ns]"), ("val", "f8"), ("is_open", "?"), ("side", "S6"), ("name", "U3")]
array = numpy.recarray((2,), dtype, buf=shm.buf)
array[0] = ("1970-01-01T00:00:01", 0.5, True, b"buy", "aä€")
array[1] = ("1969-12-31", numpy.nan, False, b"sells!", "")
print(array.dtype)
print(array.dtype.descr)
del array
shm.close()
"#;

#[test]
fn records_that_numpy_laid_out_are_read_as_a_struct_and_by_columns() {
    let name = format!("test-dtypes-{}", std::process::id());
    let segment = RawSegment::create(&name, 4096).unwrap();
    let Some(lines) = run(FILLS, &[name]) else { return };
    for line in &lines {
        dtype::check::<Trade>(line).unwrap();
    }
    // SAFETY: within the memory, aligned to 1; Python has ended.
    let [first, second] = unsafe { segment.data().cast::<[Trade; 2]>().read() };
    let text = |name: [u32; 3]| name.into_iter().filter_map(char::from_u32).collect::<String>();
    assert_eq!(({ first.date }, { first.val }, first.is_open), (1_000_000_000, 0.5, 1));
    assert_eq!((&first.side, text(first.name).as_str()), (b"buy\0\0\0", "aä€"));
    assert_eq!(({ second.date }, { second.val }.is_nan()), (-86_400_000_000_000, true));
    assert_eq!((&second.side, second.is_open), (b"sells!", 0));
    // Without a type of ours: by what numpy says.
    let schema = dtype::schema(&lines[0]).unwrap();
    assert_eq!((schema.stride, schema.columns.len()), (35, 5));
    assert_eq!(schema.column("date").unwrap().column_type, ColumnType::Int(8));
    assert_eq!(schema.column("is_open").unwrap().column_type, ColumnType::Uint(1));
    // SAFETY: as above.
    let bytes = unsafe { segment.data().cast::<[u8; 70]>().read() };
    let frozen = shm_core::Frozen::copy_of(&bytes).unwrap();
    let vals = shm_core::Column::<f64>::new(frozen.clone(), &schema, "val").unwrap();
    assert_eq!(vals.iter().filter(|val| !val.is_nan()).sum::<f64>(), 0.5);
    let text = shm_core::Column::<u64>::new(frozen, &schema, "side").unwrap_err().to_string();
    assert!(text.contains("S6"), "{text}");
}

#[test]
fn a_schema_is_of_records_that_can_be_read() {
    let error = |text: &str| dtype::schema(text).unwrap_err().to_string();
    assert!(error("'<f8'").contains("record"));
    let over = "{'names': ['a', 'b'], 'formats': ['<f8', '<f4'], 'offsets': [0, 4], 'itemsize': 8}";
    assert!(error(over).contains("over `a`"), "{}", error(over));
    let beyond = "{'names': ['a'], 'formats': ['<f8'], 'offsets': [4], 'itemsize': 8}";
    assert!(error(beyond).contains("within the record of 8 bytes"));
    let mixed =
        dtype::schema("[('a', 'O'), ('b', '>i4'), ('', 'V3'), ('c', '<i2', (2,)), ('d', 'u1')]");
    let mixed = mixed.unwrap();
    let types: Vec<String> = mixed.columns.iter().map(|c| c.column_type.to_string()).collect();
    assert!(types[0].contains("pointers") && types[1].contains("byte order"), "{types:?}");
    assert_eq!((types[2].as_str(), types[3].as_str(), mixed.stride), ("'<i2', (2,)", "u8", 20));
    for text in [
        "{'names': ['a']}",
        "{",
        "dtype(",
        "dtype([('a', 'u1')], align=True)",
        "'S99999999999999999999'",
    ] {
        assert!(dtype::schema(text).is_err(), "{text}");
    }
}
