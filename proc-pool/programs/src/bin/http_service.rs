//! An HTTP service (hyper on tokio) that hands work for the processor to a pool.
//!
//! `cargo run --release -p programs --bin http_service` serves until it is ended;
//! `... http_service check [REQUESTS]` asks itself, and ends.
//!
//! A `TaskHandle` is a future: while a task runs, its request waits without a thread, and the one
//! thread of the executor answers others. A task that runs too long, or whose worker is killed, is
//! an error of its own request.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use proc_pool::{Pool, TaskOptions, task};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What one request may take of a worker.
const LIMIT: Duration = Duration::from_secs(10);

/// How many primes there are below `n`, found the slow way.
#[task(pure)]
fn primes_below(n: u64) -> u64 {
    let is_prime = |x: &u64| (2..).take_while(|d| d * d <= *x).all(|d| !x.is_multiple_of(d));
    (2..n).filter(is_prime).count() as u64
}

// ANCHOR: answer
/// `GET /health` and `GET /primes/N`.
async fn answer(
    pool: Rc<Pool>,
    request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    let path = request.uri().path();
    if path == "/health" {
        return Ok(Response::new("well\n".to_owned()));
    }
    let Some(n) = path.strip_prefix("/primes/").and_then(|n| n.parse().ok()) else {
        return Ok(status(StatusCode::NOT_FOUND, "GET /health or /primes/N".to_owned()));
    };
    let limits = TaskOptions::new().time_limit(LIMIT);
    Ok(match pool.submit_with(primes_below, n, limits).await {
        Ok(count) => Response::new(format!("{count}\n")),
        Err(error) => status(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    })
}
// ANCHOR_END: answer

fn status(status: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response
}

async fn serve(pool: Pool, listener: TcpListener) -> Result<(), Failure> {
    let pool = Rc::new(pool);
    loop {
        let (stream, _) = listener.accept().await?;
        let pool = Rc::clone(&pool);
        spawn_local(async move {
            let service = service_fn(|request| answer(Rc::clone(&pool), request));
            // A client that goes away is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// What the service answers.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned())
}

/// Asks for primes from several threads, and meanwhile, again and again, for the service's health.
fn check(address: SocketAddr, requests: u64) -> Result<(), Failure> {
    let (mut healthy, mut slowest) = (0, Duration::ZERO);
    std::thread::scope(|scope| -> Result<(), Failure> {
        let clients: Vec<_> =
            (0..requests).map(|_| scope.spawn(|| get(address, "/primes/200000"))).collect();
        while healthy < 3 || !clients.iter().all(|client| client.is_finished()) {
            let start = Instant::now();
            if get(address, "/health")? != "well" {
                return Err("not well".into());
            }
            slowest = slowest.max(start.elapsed());
            healthy += 1;
        }
        for client in clients {
            let count = client.join().map_err(|_| "a client panicked")??;
            if count != "17984" {
                return Err(format!("{count} primes below 200000").into());
            }
        }
        Ok(())
    })?;
    println!("primes: {requests} right answers");
    println!("health: asked {healthy} times meanwhile, answered in {slowest:?} at most");
    println!("elsewhere: {}", get(address, "/elsewhere")?);
    Ok(())
}

#[proc_pool::main]
fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let asks_itself = arguments.next().as_deref() == Some("check");
    let requests = arguments.next().map_or(Ok(16), |requests| requests.parse())?;
    let pool = Pool::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    eprintln!("http://{address}");
    let service = LocalSet::new();
    if !asks_itself {
        return service.block_on(&runtime, serve(pool, listener));
    }
    let (done, over) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(check(address, requests)));
    service.block_on(&runtime, async {
        spawn_local(serve(pool, listener));
        over.await
    })?
}
