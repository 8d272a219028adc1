//! Random operations on a ring and a pipe, compared with a `VecDeque` of the same capacity.

#![cfg(not(loom))]

use std::collections::VecDeque;

use ipc_queue::{RecvError, SendError, pipe, spsc};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Send,
    Recv,
    SendSlice(usize),
    RecvSlice(usize),
    Reattach,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Send),
        4 => Just(Op::Recv),
        2 => (0..40usize).prop_map(Op::SendSlice),
        2 => (0..40usize).prop_map(Op::RecvSlice),
        1 => Just(Op::Reattach),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_behaves_like_a_bounded_deque(asked in 1..20usize, ops in prop::collection::vec(op(), 1..200)) {
        let size = spsc::required_size::<u64>(asked).unwrap();
        let segment = shm_core::Segment::anonymous(size).unwrap();
        spsc::create::<u64>(&segment, 0, asked).unwrap();
        let mut producer = spsc::attach_producer::<u64>(&segment, 0).unwrap();
        let mut consumer = spsc::attach_consumer::<u64>(&segment, 0).unwrap();
        let capacity = producer.capacity();
        prop_assert!(capacity >= asked);
        let mut model = VecDeque::new();
        let mut next = 0..;
        for op in ops {
            match op {
                Op::Send => {
                    let value = next.next().unwrap();
                    let full = model.len() == capacity;
                    let expected = if full { Err(SendError::Full(value)) } else { Ok(()) };
                    prop_assert_eq!(producer.try_send(value), expected);
                    if !full {
                        model.push_back(value);
                    }
                }
                Op::Recv => {
                    prop_assert_eq!(consumer.try_recv(), model.pop_front().ok_or(RecvError::Empty));
                }
                Op::SendSlice(len) => {
                    let values: Vec<u64> = next.by_ref().take(len).collect();
                    let fit = len.min(capacity - model.len());
                    let expected = if fit == 0 && len > 0 { Err(SendError::Full(())) } else { Ok(fit) };
                    prop_assert_eq!(producer.try_send_slice(&values), expected);
                    model.extend(&values[..fit]);
                }
                Op::RecvSlice(len) => {
                    let mut values = vec![0; len];
                    let there = len.min(model.len());
                    let expected = if there == 0 && len > 0 { Err(RecvError::Empty) } else { Ok(there) };
                    prop_assert_eq!(consumer.try_recv_slice(&mut values), expected);
                    prop_assert!(values[..there].iter().copied().eq(model.drain(..there)));
                }
                Op::Reattach => {
                    producer.detach();
                    consumer.detach();
                    producer = spsc::attach_producer(&segment, 0).unwrap();
                    consumer = spsc::attach_consumer(&segment, 0).unwrap();
                }
            }
            prop_assert_eq!(producer.len(), model.len());
            prop_assert_eq!(consumer.len(), model.len());
        }
    }

    #[test]
    fn a_pipe_behaves_like_a_bounded_deque_of_bytes(
        asked in 1..100usize,
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..150usize), 1..100),
    ) {
        let (mut writer, mut reader) = pipe::channel(asked).unwrap();
        let capacity = writer.capacity();
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut next = (0..=255u8).cycle();
        for (write, in_place, len) in steps {
            let at = model.len();
            match (write, in_place) {
                (true, false) => {
                    let bytes: Vec<u8> = next.by_ref().take(len).collect();
                    let fit = len.min(capacity - at);
                    let expected = if fit == 0 && len > 0 { Err(SendError::Full(())) } else { Ok(fit) };
                    prop_assert_eq!(writer.try_write(&bytes), expected);
                    model.extend(&bytes[..fit]);
                }
                (true, true) => {
                    let mut handed = Vec::new();
                    let result = writer.try_write_chunk(|room| {
                        let fit = len.min(room.len());
                        handed = next.by_ref().take(fit).collect();
                        room[..fit].copy_from_slice(&handed);
                        fit
                    });
                    prop_assert_eq!(result.is_err(), at == capacity);
                    model.extend(handed);
                }
                (false, false) => {
                    let mut bytes = vec![0; len];
                    let there = len.min(at);
                    let expected = if there == 0 && len > 0 { Err(RecvError::Empty) } else { Ok(there) };
                    prop_assert_eq!(reader.try_read(&mut bytes), expected);
                    prop_assert!(bytes[..there].iter().copied().eq(model.drain(..there)));
                }
                (false, true) => {
                    let taken = reader.try_read_chunk(|bytes| {
                        let count = len.min(bytes.len());
                        (count, bytes[..count].to_vec())
                    });
                    match taken {
                        Err(error) => {
                            prop_assert_eq!(error, RecvError::Empty);
                            prop_assert_eq!(at, 0);
                        }
                        Ok(bytes) => prop_assert!(bytes.iter().copied().eq(model.drain(..bytes.len()))),
                    }
                }
            }
            prop_assert_eq!(reader.len(), model.len());
        }
        prop_assert_eq!(writer.bytes_moved() - reader.bytes_moved(), model.len() as u64);
    }
}
