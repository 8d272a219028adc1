//! Random operations against a log and a cursor for each reader.

use ipc_queue::broadcast::{self, Mode, Producer, Reader, Start};
use ipc_queue::{RecvError, SendError};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Send,
    SendSlice(usize),
    /// Asked for, written, and whether it is committed.
    Reserve(usize, usize, bool),
    Recv(usize),
    RecvSlice(usize, usize),
    Join(Mode, Start),
    Leave(usize),
    NextProducer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mode = prop_oneof![Just(Mode::Block), Just(Mode::Overwrite)];
    let start = prop_oneof![Just(Start::Now), Just(Start::Oldest)];
    let step = prop_oneof![
        4 => Just(Step::Send),
        2 => (0..7_usize).prop_map(Step::SendSlice),
        2 => (0..7_usize, 0..7_usize, any::<bool>())
            .prop_map(|(room, written, commit)| Step::Reserve(room, written, commit)),
        6 => (0..4_usize).prop_map(Step::Recv),
        3 => (0..4_usize, 0..9_usize).prop_map(|(who, most)| Step::RecvSlice(who, most)),
        1 => (mode, start).prop_map(|(mode, start)| Step::Join(mode, start)),
        1 => (0..4_usize).prop_map(Step::Leave),
        1 => Just(Step::NextProducer),
    ];
    prop::collection::vec(step, 1..120)
}

struct Follower {
    reader: Reader<[u16; 3]>,
    mode: Mode,
    at: u64,
}

/// What the ring should do: `tail` elements were sent, and element `p` is `item(p)`.
struct World {
    segment: shm_core::Segment,
    group: shm_core::Group,
    producer: Option<Producer<[u16; 3]>>,
    followers: Vec<Follower>,
    capacity: u64,
    tail: u64,
    /// Ever begun to be written.
    reserved: u64,
}

fn item(position: u64) -> [u16; 3] {
    [position as u16, !position as u16, position as u16 ^ 0x55]
}

impl World {
    fn new(capacity: usize) -> World {
        let size = broadcast::required_size::<[u16; 3]>(capacity).unwrap();
        let segment = shm_core::Segment::anonymous(size).unwrap();
        let group = shm_core::Group::anonymous().unwrap();
        broadcast::create::<[u16; 3]>(&segment, 0, capacity).unwrap();
        let producer = Some(broadcast::attach_producer(&segment, 0, &group).unwrap());
        let capacity = capacity.next_power_of_two() as u64;
        World { segment, group, producer, followers: vec![], capacity, tail: 0, reserved: 0 }
    }

    fn producer(&mut self) -> &mut Producer<[u16; 3]> {
        self.producer.as_mut().unwrap()
    }

    fn room(&self) -> u64 {
        let blocking = self.followers.iter().filter(|follower| follower.mode == Mode::Block);
        let lowest = blocking.map(|follower| follower.at).min();
        self.capacity - lowest.map_or(0, |lowest| self.tail - lowest)
    }

    fn sent(&mut self, count: u64) {
        self.tail += count;
        self.reserved = self.reserved.max(self.tail);
    }

    fn step(&mut self, step: Step) {
        let (room, tail) = (self.room(), self.tail);
        match step {
            Step::Send => {
                let sent = self.producer().try_send(item(tail));
                if room == 0 {
                    assert_eq!(sent, Err(SendError::Full(item(tail))));
                } else {
                    sent.unwrap();
                    self.sent(1);
                }
            }
            Step::SendSlice(count) => {
                let values: Vec<_> = (tail..tail + count as u64).map(item).collect();
                let sent = self.producer().try_send_slice(&values);
                if room == 0 && count > 0 {
                    assert_eq!(sent, Err(SendError::Full(())));
                } else {
                    assert_eq!(sent, Ok(count.min(room as usize)));
                    self.sent((count as u64).min(room));
                }
            }
            Step::Reserve(asked, written, commit) => self.reserve(asked as u64, written, commit),
            Step::Join(mode, start) => self.join(mode, start),
            Step::Leave(who) if who < self.followers.len() => drop(self.followers.remove(who)),
            Step::NextProducer => {
                self.producer = None;
                let next = broadcast::attach_producer(&self.segment, 0, &self.group).unwrap();
                self.producer = Some(next);
            }
            Step::Recv(who) if who < self.followers.len() => self.recv(who, None),
            Step::RecvSlice(who, most) if who < self.followers.len() => self.recv(who, Some(most)),
            Step::Leave(_) | Step::Recv(_) | Step::RecvSlice(..) => {}
        }
        let producer = self.producer.as_ref().unwrap();
        producer.validate().unwrap();
        assert_eq!(producer.sent(), self.tail);
        assert_eq!(producer.readers(), self.followers.len());
    }

    fn reserve(&mut self, asked: u64, written: usize, commit: bool) {
        let (room, tail, capacity) = (self.room(), self.tail, self.capacity);
        let mut batch = match self.producer().try_reserve(asked as usize) {
            Err(SendError::TooLarge { size, most, .. }) => {
                assert!(asked > capacity && size as u64 == asked && most as u64 == capacity);
                return;
            }
            Err(error) => {
                assert!(error == SendError::Full(()) && asked > room);
                return;
            }
            Ok(batch) => batch,
        };
        assert!(asked <= room);
        let written = asked.min(written as u64);
        for position in tail..tail + written {
            batch.push(item(position)).unwrap();
        }
        if commit {
            assert_eq!(batch.commit() as u64, written);
            self.sent(written);
        } else {
            drop(batch);
            self.reserved = self.reserved.max(tail + written);
        }
    }

    fn join(&mut self, mode: Mode, start: Start) {
        if self.followers.len() == 4 {
            return;
        }
        let (segment, group) = (&self.segment, &self.group);
        let reader = broadcast::attach_reader(segment, 0, group, mode, start).unwrap();
        let at = self.tail - reader.lag();
        match (mode, start) {
            (_, Start::Now) => assert_eq!(at, self.tail),
            // The producer may have promised itself more room than it has used.
            (Mode::Block | Mode::Overwrite, Start::Oldest) => {
                assert!(at >= self.reserved.saturating_sub(self.capacity));
            }
        }
        self.followers.push(Follower { reader, mode, at });
    }

    fn recv(&mut self, who: usize, most: Option<usize>) {
        let oldest = self.reserved.saturating_sub(self.capacity);
        let follower = &mut self.followers[who];
        let mut values = vec![[0; 3]; most.unwrap_or(1)];
        let received = match most {
            None => follower.reader.try_recv().map(|value| {
                values[0] = value;
                1
            }),
            Some(_) => follower.reader.try_recv_slice(&mut values),
        };
        let there = self.tail - follower.at;
        let expected = match () {
            () if values.is_empty() => Ok(0),
            () if there == 0 => Err(RecvError::Empty),
            () if follower.at < oldest => Err(RecvError::Lagged(oldest - follower.at)),
            () => Ok(values.len().min(there as usize)),
        };
        assert_eq!(received, expected);
        match received {
            Ok(count) => {
                let positions = follower.at..follower.at + count as u64;
                assert!(positions.map(item).eq(values[..count].iter().copied()));
                follower.at += count as u64;
            }
            Err(RecvError::Lagged(missed)) => {
                assert_eq!(follower.mode, Mode::Overwrite);
                follower.at += missed;
            }
            Err(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_operations_agree_with_a_log(capacity in 1..6_usize, steps in steps()) {
        let mut world = World::new(capacity);
        for step in steps {
            world.step(step);
        }
    }
}
