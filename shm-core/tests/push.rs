//! Files pushed over both kinds of Unix sockets, and what else may come over them.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use reexec::{Actor, role, tell};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use shm_core::{Error, Frozen, Segment, handle, push};

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn in_a_child() {
    let Some((_, handle)) = role() else { return };
    let socket = std::io::stdin();
    // The handle came before its file.
    let segment = || postcard::from_bytes::<Segment>(&unhex(&handle));
    assert!(segment().unwrap_err().to_string().len() > 1);
    let id = push::receive(&socket).unwrap().unwrap();
    let segment = segment().unwrap();
    assert_eq!(segment.id(), id);
    segment.grow(2000).unwrap();
    // SAFETY: within the segment; the other process waits.
    unsafe { segment.data().as_ptr().wrapping_add(1999).write(5) };
    tell("written");
    // The peer closed its end.
    assert_eq!(push::receive(&socket).unwrap(), None);
}

#[test]
fn a_segment_travels_to_another_process_as_its_id() {
    for kind in [SocketType::STREAM, SocketType::SEQPACKET] {
        let segment = Segment::options().size(1000).maximum(4000).anonymous().unwrap();
        let (bytes, files) = handle::collect(|| postcard::to_stdvec(&segment).unwrap());
        let (ours, theirs) = pair(kind);
        let mut other = Actor::with_file("receiver", &hex(&bytes), theirs);
        assert_eq!(files.len(), 1);
        push::send(&ours, &files[0]).unwrap();
        assert_eq!(other.hear(), "written");
        assert_eq!(segment.size(), 2000);
        // SAFETY: within the segment; the other process has written it.
        assert_eq!(unsafe { segment.data().as_ptr().wrapping_add(1999).read() }, 5);
        assert!(!files[0].downgrade().is_gone());
        drop(ours);
        other.finish();
    }
}

#[test]
fn a_handle_without_its_file_is_not_reachable() {
    let text = {
        let segment = Segment::anonymous(1).unwrap();
        serde_json::to_string(&segment).unwrap()
    };
    let error = serde_json::from_str::<Segment>(&text).unwrap_err();
    assert!(error.to_string().contains("not reachable"), "{error}");
}

#[test]
fn a_named_segment_travels_by_its_name() {
    let name = format!("test-push-{}", std::process::id());
    let segment = Segment::create(&name, 1).unwrap();
    let (text, files) = handle::collect(|| serde_json::to_string(&segment).unwrap());
    assert!(files.is_empty() && text.contains(&name), "{text}");
    let again: Segment = serde_json::from_str(&text).unwrap();
    assert_eq!(again.id(), segment.id());
    drop((segment, again));
    let error = serde_json::from_str::<Segment>(&text).unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn what_is_no_push_is_refused() {
    let receive = |bytes: &[u8]| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(bytes).unwrap();
        drop(ours);
        push::receive(&theirs)
    };
    assert!(matches!(receive(b""), Ok(None)));
    for bytes in [&b"short"[..], &[7; 24], b"shm-push................"] {
        let refused = receive(bytes);
        assert!(matches!(refused, Err(Error::NotASegment { .. })), "{refused:?}");
    }
}

#[test]
fn a_file_under_anothers_id_is_refused() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let (ours, theirs) = pair(SocketType::SEQPACKET);
    let (named, sent) = (Frozen::copy_of(&[1u8]).unwrap(), Frozen::copy_of(&[2u8]).unwrap());
    let bytes = [&b"shm-push"[..], &named.id().to_bytes()].concat();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [sent.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    let parts = [std::io::IoSlice::new(&bytes)];
    rustix::net::sendmsg(&ours, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
    let refused = push::receive(&theirs);
    assert!(matches!(refused, Err(Error::NotASegment { .. })), "{refused:?}");
    assert!(!handle::was_offered(sent.id()));
}

#[test]
fn an_empty_socket_that_does_not_block_says_so() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let error = push::receive(&theirs).unwrap_err();
    assert!(matches!(error, Error::System { call: "recvmsg", .. }), "{error}");
}
