//! From the book's chapter "From Python's multiprocessing": a queue and a pipe.

use std::io::{Read, Write};
use std::thread;

use ipc_queue::{pipe, spsc};

fn queue() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: queue
    let (mut producer, mut consumer) = spsc::channel::<u64>(64)?; // holds 64, then `send` waits
    let thread = thread::spawn(move || consumer.iter().sum::<u64>());
    for number in 1..=1000 {
        producer.send(number)?;
    }
    drop(producer); // the end: no sentinel is needed
    println!("queue: {}", thread.join().map_err(|_| "the consumer panicked")?);
    // ANCHOR_END: queue
    Ok(())
}

fn bytes() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: pipe
    let (mut writer, mut reader) = pipe::channel(4096)?;
    let thread = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    writer.write_all(b"hello from the other side")?;
    drop(writer); // the reader sees the end
    println!("pipe: {}", thread.join().map_err(|_| "the reader panicked")??);
    // ANCHOR_END: pipe
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    queue()?;
    bytes()
}
