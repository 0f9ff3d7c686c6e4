//! Ranks that fall silent: a process that is frozen, a node that is lost.
//!
//! MPI waits for such a rank for ever. So rank 0 and every other rank exchange a byte several times a second over a connection of
//! their own, by a thread that does nothing else; whoever hears nothing for too long says of whom and ends its process, and the
//! launcher, or the closed connection, ends the others. What a rank computes or waits for doesn't matter to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::World;
use super::nodes::host;
use crate::Error;

/// Silence of other ranks that is borne unless the configuration says otherwise, s.
pub const SILENCE_LIMIT: f64 = 60.0;
/// Most time between two bytes.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// Bytes in so much of the limit.
const TICKS: u32 = 20;
/// Patience with connections at the beginning.
const OPENING: Duration = Duration::from_secs(10);
/// A rank whose connection has closed may be about to end as it should, or MPI about to end the job.
const CLOSED: Duration = Duration::from_secs(10);
/// What is sent.
const ALIVE: u8 = b'.';
const FAREWELL: u8 = b'F';

/// Watches the other ranks until it is dropped.
pub(super) struct Pulse {
    over: Arc<AtomicBool>,
    watch: Option<JoinHandle<()>>,
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // it says farewell first, so that nobody takes the end for a failure
        if let Some(watch) = self.watch.take() {
            watch.thread().unpark();
            let _ = watch.join();
        }
    }
}

/// Another rank.
struct Peer {
    rank: usize,
    host: String,
    stream: TcpStream,
    heard: Instant,
    closed: Option<Instant>,
    /// It has said farewell.
    is_done: bool,
}

/// What a rank says when it connects: its number, a number that only this job knows, and its host.
fn greeting(rank: usize, token: u64) -> Vec<u8> {
    let mut bytes = (rank as u32).to_le_bytes().to_vec();
    bytes.extend(token.to_le_bytes());
    let host = host().into_bytes();
    bytes.push(host.len().min(255) as u8);
    bytes.extend(&host[..host.len().min(255)]);
    bytes
}

impl Peer {
    /// Takes a connection on, if it is one of this job's.
    fn greeted(mut stream: TcpStream, token: u64) -> Option<Self> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(OPENING)).ok()?;
        let mut head = [0; 13];
        stream.read_exact(&mut head).ok()?;
        if head[4..12] != token.to_le_bytes() {
            return None;
        }
        let mut host = vec![0; head[12].into()];
        stream.read_exact(&mut host).ok()?;
        let rank = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        Self::new(rank, String::from_utf8_lossy(&host).into_owned(), stream)
    }

    fn new(rank: usize, host: String, stream: TcpStream) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Self { rank, host, stream, heard: Instant::now(), closed: None, is_done: false })
    }

    /// Hears what it has said and says something; why it must have failed, if it must.
    fn look(&mut self, limit: Duration) -> Option<String> {
        let mut bytes = [0; 256];
        match self.stream.read(&mut bytes) {
            Ok(0) => drop(self.closed.get_or_insert_with(Instant::now)),
            Ok(n) => {
                self.heard = Instant::now();
                self.is_done |= bytes[..n].contains(&FAREWELL);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => drop(self.closed.get_or_insert_with(Instant::now)),
        }
        let _ = self.stream.write(&[ALIVE]);
        let Self { rank, host, .. } = self;
        if self.closed.is_some_and(|since| since.elapsed() > CLOSED) {
            return Some(format!("rank {rank} on {host} has ended unexpectedly"));
        }
        let silent = self.heard.elapsed() > limit && self.closed.is_none();
        silent.then(|| {
            let seconds = limit.as_secs_f64();
            format!("rank {rank} on {host} has been silent for {seconds} s: it is frozen, or its node is lost or can't be reached")
        })
    }
}

impl Pulse {
    /// Begins to watch; a collective call. Nothing where there is nobody to be watched or nothing to be feared, and with a warning
    /// where ranks can't be connected.
    pub fn start(world: &World, limit: Option<Duration>) -> Option<Self> {
        let limit = limit.filter(|_| world.size() > 1)?;
        let peers = if world.rank() == 0 { accept(world) } else { connect(world) };
        if peers.is_empty() {
            return None;
        }
        let over = Arc::new(AtomicBool::new(false));
        let (own, ended) = (world.rank(), Arc::clone(&over));
        let watch = std::thread::Builder::new().name("pulse".into()).stack_size(1 << 18);
        let watch = watch.spawn(move || watching(own, peers, limit, &ended)).ok()?;
        Some(Self { over, watch: Some(watch) })
    }
}

/// Rank 0's side: all others that connect.
fn accept(world: &World) -> Vec<Peer> {
    let listener = TcpListener::bind(("0.0.0.0", 0));
    let port = listener.as_ref().ok().and_then(|listener| Some(listener.local_addr().ok()?.port())).unwrap_or(0);
    let token: u64 = rand::rng().random();
    let mut address = [u64::from(port), token, 0, 0];
    world.broadcast_words(&mut address);
    let mut name = host().into_bytes();
    name.resize(NAME, 0);
    world.broadcast_bytes(&mut name);
    let found = Arc::new(AtomicBool::new(false));
    let wanted = world.size() - 1;
    let taking = listener.ok().map(|listener| {
        let stop = Arc::clone(&found);
        std::thread::spawn(move || take(&listener, token, wanted, &stop))
    });
    // by then everybody has tried
    let connected = world.gather(&[0.0], &vec![1; world.size()]).iter().sum::<f64>() as usize;
    found.store(connected < wanted, Ordering::Relaxed);
    let peers = taking.and_then(|taking| taking.join().ok()).unwrap_or_default();
    if peers.len() < wanted {
        log::warn!(
            "{} of {wanted} ranks can't be connected with rank 0 over TCP: should one of them freeze, the job will hang",
            wanted - peers.len()
        );
    }
    peers
}

/// Bytes of a host's name.
const NAME: usize = 256;

/// Takes connections on until there are enough, or nobody else will come.
fn take(listener: &TcpListener, token: u64, wanted: usize, no_more: &AtomicBool) -> Vec<Peer> {
    let mut peers = Vec::new();
    let begin = Instant::now();
    if listener.set_nonblocking(true).is_err() {
        return peers;
    }
    while peers.len() < wanted && begin.elapsed() < 2 * OPENING {
        let last = no_more.load(Ordering::Relaxed);
        match listener.accept() {
            Ok((stream, _)) => peers.extend(Peer::greeted(stream, token)),
            Err(_) if last => break,
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    peers
}

/// The side of the others: rank 0.
fn connect(world: &World) -> Vec<Peer> {
    let mut address = [0; 4];
    world.broadcast_words(&mut address);
    let mut name = vec![0; NAME];
    world.broadcast_bytes(&mut name);
    let [port, token, ..] = address;
    let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
    let peer = (port != 0).then(|| reach(&name, port as u16, world.rank(), token)).flatten();
    world.gather(&[if peer.is_some() { 1.0 } else { 0.0 }], &[]);
    peer.into_iter().collect()
}

fn reach(name: &str, port: u16, rank: usize, token: u64) -> Option<Peer> {
    let begin = Instant::now();
    for address in (name, port).to_socket_addrs().ok()? {
        let left = OPENING.checked_sub(begin.elapsed())?;
        let Ok(mut stream) = TcpStream::connect_timeout(&address, left) else { continue };
        if stream.write_all(&greeting(rank, token)).is_ok() {
            return Peer::new(0, name.to_owned(), stream);
        }
    }
    None
}

fn watching(own: usize, mut peers: Vec<Peer>, limit: Duration, over: &AtomicBool) {
    let tick = (limit / TICKS).min(LONGEST_TICK);
    let mut last = Instant::now();
    while !over.load(Ordering::Relaxed) {
        // until it is time, or over
        std::thread::park_timeout(tick);
        if last.elapsed() < tick {
            continue;
        }
        if last.elapsed() > limit / 2 {
            // this process itself was stopped meanwhile, with the others perhaps
            peers.iter_mut().for_each(|peer| peer.heard = Instant::now());
        }
        last = Instant::now();
        peers.retain(|peer| !peer.is_done);
        for peer in &mut peers {
            if let Some(why) = peer.look(limit).filter(|_| !over.load(Ordering::Relaxed)) {
                end(own, &why);
            }
        }
    }
    for peer in &mut peers {
        let _ = peer.stream.write(&[FAREWELL]);
    }
}

/// Ends this process, whose main thread may wait for ever.
fn end(own: usize, why: &str) -> ! {
    if own > 1 {
        // rank 1 says it for all, if it still can
        std::thread::sleep(Duration::from_secs(2));
    }
    let message = format!("{why}; the job ends, and the same command goes on from the last checkpoint");
    let error = Error::Rank { rank: own, message };
    eprintln!("error: {error}");
    signal_hook::low_level::exit(error.exit_code().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection.
    fn pair(limit: Duration) -> (Peer, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.write_all(&greeting(3, 7)).unwrap();
        let mut near = Peer::greeted(listener.accept().unwrap().0, 7).unwrap();
        assert_eq!((near.rank, near.look(limit)), (3, None));
        (near, far)
    }

    #[test]
    fn silence_and_a_closed_connection_are_noticed_and_a_farewell_is_not_a_failure() {
        let limit = Duration::from_millis(200);
        let (mut near, mut far) = pair(limit);
        std::thread::sleep(limit / 2);
        far.write_all(&[ALIVE]).unwrap();
        std::thread::sleep(3 * limit / 4);
        assert_eq!(near.look(limit), None);
        std::thread::sleep(limit + limit / 4);
        let told = near.look(limit).unwrap();
        assert!(told.starts_with("rank 3 on ") && told.contains("silent for 0.2 s"), "{told}");

        let (mut near, far) = pair(limit);
        drop(far);
        std::thread::sleep(2 * limit);
        assert_eq!(near.look(limit), None, "not at once");
        near.closed = Instant::now().checked_sub(2 * CLOSED);
        assert!(near.look(limit).unwrap().ends_with("has ended unexpectedly"));

        let (mut near, mut far) = pair(limit);
        far.write_all(&[ALIVE, FAREWELL]).unwrap();
        std::thread::sleep(limit / 4);
        assert_eq!(near.look(limit), None);
        assert!(near.is_done);
    }

    #[test]
    fn strangers_are_not_ranks() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stranger.write_all(&greeting(1, 8)).unwrap();
        assert!(Peer::greeted(listener.accept().unwrap().0, 7).is_none());
    }
}
