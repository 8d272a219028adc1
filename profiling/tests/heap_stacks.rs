//! Stacks of the heap profiler, in code that keeps frame pointers.
//!
//! The usual build keeps none, and a flag for all builds would change what all others measure. So
//! one test compiles this file once more, with the flag, and runs the others there; the libraries
//! are those that are built already.
#![allow(clippy::unwrap_used, reason = "test code, outside test functions too")]

use std::alloc::System;
use std::ffi::{CStr, CString, c_void};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use profiling::heap::{self, Mode, Profiler, Site, Snapshot, StackEnd};
use profiling::{Symbols, is_own_source};

#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::Exact);

/// Set for the program that was compiled with frame pointers.
const IS_SECOND: &str = "HEAP_STACKS_SECOND_BUILD";

/// Whether this is that program; the first build says where the test is run.
fn has_frame_pointers() -> bool {
    let works = heap::snapshot().unwrap().quality.frame_pointers == Some(true);
    if !works {
        assert!(std::env::var_os(IS_SECOND).is_none(), "compiled for frame pointers, has none");
        println!("no frame pointers in this build: run in the second one");
    }
    works
}

#[test]
fn all_of_these_pass_in_a_build_with_frame_pointers() {
    if std::env::var_os(IS_SECOND).is_some() {
        return;
    }
    let program = compile_this_file_with_frame_pointers();
    let output = Command::new(program).env(IS_SECOND, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
}

/// With the features of this build, so that the libraries need not be compiled again.
fn compile_this_file_with_frame_pointers() -> PathBuf {
    let features = [
        (cfg!(feature = "cli"), "cli"),
        (cfg!(feature = "deep-size"), "deep-size"),
        (cfg!(feature = "pprof"), "pprof"),
        (cfg!(feature = "recording"), "recording"),
        (cfg!(feature = "serde"), "serde"),
    ];
    let features = features.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| *name);
    let features = features.fold("symbols".to_owned(), |all, name| all + "," + name);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["rustc", "--offline", "--test", "heap_stacks", "--no-default-features"]);
    cargo.args(["--features", &features, "--message-format=json-render-diagnostics"]);
    // Optimised, since unoptimised code calls generic functions that its libraries have compiled
    // already, without frame pointers.
    cargo.args(["--", "-C", "force-frame-pointers=yes", "-C", "opt-level=2"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str(line).unwrap());
    let is_this = |message: &serde_json::Value| message["target"]["name"] == "heap_stacks";
    let built: Vec<serde_json::Value> = messages.filter(is_this).collect();
    built.iter().find_map(|message| message["executable"].as_str()).unwrap().into()
}

#[inline(never)]
fn outer() -> Vec<u8> {
    black_box(middle())
}

#[inline(never)]
fn middle() -> Vec<u8> {
    black_box(inner())
}

#[inline(never)]
fn inner() -> Vec<u8> {
    black_box(vec![1u8; 4321])
}

/// The one site of a scope.
fn site_in(snapshot: &Snapshot, name: &str) -> Site {
    let is_it = |tag: u32| snapshot.tags[tag as usize] == name;
    let mut sites = snapshot.sites.iter().filter(|site| site.tag.is_some_and(is_it));
    let site = sites.next().unwrap().clone();
    assert_eq!(sites.next(), None);
    site
}

#[test]
fn a_stack_is_whole_and_names_its_functions_from_the_outermost() {
    if !has_frame_pointers() {
        return;
    }
    let kept = {
        let _scope = heap::scope("whole");
        outer()
    };
    let snapshot = heap::snapshot().unwrap();
    let site = site_in(&snapshot, "whole");
    let calls = Symbols::new().calls(&snapshot, &site);
    assert_eq!(site.end, StackEnd::Complete, "{calls:#?}");
    let names = calls.iter().map(|call| call.name.rsplit("::").next().unwrap_or_default());
    let ours: Vec<&str> =
        names.filter(|name| ["outer", "middle", "inner"].contains(name)).collect();
    assert_eq!(ours, ["outer", "middle", "inner"], "{calls:#?}");
    drop(kept);
}

#[test]
fn a_block_is_booked_on_the_line_that_asked_for_it() {
    if !has_frame_pointers() {
        return;
    }
    let scope = heap::scope("line");
    let kept = (black_box(vec![1u8; 1234]), line!());
    drop(scope);
    let snapshot = heap::snapshot().unwrap();
    let line = Symbols::new().line(&snapshot, &site_in(&snapshot, "line"), is_own_source).unwrap();
    assert!(line.file.as_ref().unwrap().ends_with("heap_stacks.rs"), "{line:?}");
    assert_eq!(line.line, Some(kept.1));
}

/// A shared library of one function, which calls back; `None` without a C compiler.
fn library(folder: &Path, function: &str) -> Option<CString> {
    let source = folder.join(format!("{function}.c"));
    let code = format!("void {function}(void (*f)(void)) {{ f(); __asm__ volatile(\"\"); }}\n");
    std::fs::write(&source, code).unwrap();
    let library = folder.join(format!("lib{function}.so"));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-fno-omit-frame-pointer", "-Wl,--build-id", "-o"]);
    let Ok(status) = compiler.arg(&library).arg(&source).status() else {
        println!("skipped: no C compiler here");
        return None;
    };
    assert!(status.success());
    CString::new(library.into_os_string().into_encoded_bytes()).ok()
}

extern "C" fn allocate_and_keep() {
    std::mem::forget(black_box(vec![1u8; 7777]));
}

/// Loads a library and has its function call back, in a scope; the library's handle.
fn call_through(library: &CStr, function: &str) -> *mut c_void {
    let name = CString::new(function).unwrap();
    // SAFETY: the library has no initialisers.
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
    // SAFETY: an open handle, and a C string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!found.is_null());
    type Through = extern "C" fn(extern "C" fn());
    // SAFETY: the function of that name was compiled with this signature.
    let through = unsafe { std::mem::transmute::<*mut c_void, Through>(found) };
    let _scope = heap::scope(function);
    through(allocate_and_keep);
    handle
}

/// Waits until the one stack of a scope names a function. Another thread may be reading the
/// process's modules just then: it reads them once more, and is not waited for by the profiler.
fn wait_until_named(function: &str) {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let snapshot = heap::snapshot().unwrap();
        let calls = Symbols::new().calls(&snapshot, &site_in(&snapshot, function));
        if calls.iter().any(|call| call.name == function) {
            return;
        }
        assert!(Instant::now() < limit, "{calls:#?}: {:?}", snapshot.modules);
        std::thread::yield_now();
    }
}

#[test]
fn a_library_that_was_loaded_later_and_one_in_its_place_have_their_names() {
    if !has_frame_pointers() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let library = |function| library(folder.path(), function);
    let Some((first, second)) = library("loaded_first").zip(library("loaded_second")) else {
        return;
    };
    let handle = call_through(&first, "loaded_first");
    wait_until_named("loaded_first");
    // SAFETY: the handle is open, and nothing of the library is in use any more.
    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
    call_through(&second, "loaded_second");
    wait_until_named("loaded_second");
}
