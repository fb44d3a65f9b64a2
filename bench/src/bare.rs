//! The barest replication: what a put would take on this machine if the service were its messages
//! and its writes, and nothing else.
//!
//! The leader sends what its client sends to both followers and writes it to a file of its own;
//! each follower writes it and answers; when two of the three files are synced, the leader answers.
//! That is all: nothing is encoded, checked, kept in order after a failure, or could be read back.
//! So it shows what three processes that share cores and a disk cannot but take, as a disk and a
//! loopback each by itself do not.
//!
//! A thread waits at each socket, and no message goes from one thread to another.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labrt::sync::Mutex;
use labrt::thread;

use crate::Outcome;
use crate::yardstick::{Disk, Process, RECORD, connect, listen};

const ANSWER: [u8; 1] = [1];
const FOLLOWERS: usize = 2;
/// Of leader and followers.
const MAJORITY: usize = 2;

/// Three processes, and the client's socket to the leader.
pub(crate) struct Bare {
    socket: TcpStream,
    _processes: Vec<Process>,
}

impl Bare {
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, String> {
        Self::start(folder).map_err(|error| format!("the barest replication failed: {error}"))
    }

    fn start(folder: &Path) -> io::Result<Self> {
        let file = |name: &str| folder.join(format!("bare-{name}")).into_os_string();
        let mut leader = vec!["bare-leader".into(), file("leader")];
        let mut processes = Vec::new();
        for follower in 0..FOLLOWERS {
            let args = ["bare-follower".into(), file(&follower.to_string())];
            let (process, address) = Process::start(&args)?;
            processes.push(process);
            leader.push(address.to_string().into());
        }
        let (process, address) = Process::start(&leader)?;
        processes.push(process);
        Ok(Self { socket: connect(address)?, _processes: processes })
    }

    pub(crate) fn put(&mut self) -> Result<(), String> {
        let answered = self.socket.write_all(&RECORD).and_then(|()| wait_for_answer(&self.socket));
        answered.map_err(|error| format!("the barest replication failed: {error}"))
    }
}

fn wait_for_answer(mut socket: &TcpStream) -> io::Result<()> {
    socket.read_exact(&mut [0; ANSWER.len()])
}

/// A process of the three. It ends when its connection does.
#[derive(clap::Args)]
pub(crate) struct Args {
    file: PathBuf,
    followers: Vec<SocketAddr>,
}

pub(crate) fn follow(args: &Args) -> Outcome {
    serve(args, |disk, mut client| {
        while client.read_exact(&mut [0; RECORD.len()]).is_ok() {
            disk.append_and_sync().map_err(io::Error::other)?;
            client.write_all(&ANSWER)?;
        }
        Ok(())
    })
}

pub(crate) fn lead(args: &Args) -> Outcome {
    serve(args, |disk, client| Leader::connect(client, &args.followers)?.serve(disk))
}

fn serve(args: &Args, body: impl FnOnce(&mut Disk, TcpStream) -> io::Result<()>) -> Outcome {
    let mut disk = Disk::at(&args.file)?;
    let served = listen().and_then(|listener: TcpListener| {
        let (client, _) = listener.accept()?;
        client.set_nodelay(true)?;
        body(&mut disk, client)
    });
    served.map(|()| true).map_err(|error| format!("the loopback cannot be used: {error}"))
}

struct Leader {
    client: TcpStream,
    followers: Vec<TcpStream>,
    puts: Mutex<Puts>,
}

#[derive(Default)]
struct Puts {
    /// The number of the one that is under way, from 1.
    last: u64,
    /// Who has it on disk.
    synced: usize,
}

impl Leader {
    fn connect(client: TcpStream, followers: &[SocketAddr]) -> io::Result<Arc<Self>> {
        let followers: io::Result<Vec<_>> = followers.iter().copied().map(connect).collect();
        Ok(Arc::new(Self { client, followers: followers?, puts: Mutex::default() }))
    }

    fn serve(self: &Arc<Self>, disk: &mut Disk) -> io::Result<()> {
        for follower in 0..self.followers.len() {
            let leader = Arc::clone(self);
            thread::spawn(move || leader.hear(follower));
        }
        let mut put = 0;
        while (&self.client).read_exact(&mut [0; RECORD.len()]).is_ok() {
            put += 1;
            *self.puts.lock() = Puts { last: put, synced: 0 };
            for mut follower in &self.followers {
                follower.write_all(&RECORD)?;
            }
            disk.append_and_sync().map_err(io::Error::other)?;
            self.is_synced(put)?;
        }
        Ok(())
    }

    /// A follower answers in order. When the connection ends, so does all of this.
    fn hear(&self, follower: usize) {
        let heard = || wait_for_answer(&self.followers[follower]);
        let _ended = (1..).try_for_each(|put| heard().and_then(|()| self.is_synced(put)));
    }

    fn is_synced(&self, put: u64) -> io::Result<()> {
        let mut puts = self.puts.lock();
        // The third one is late: the next put may be under way.
        puts.synced += usize::from(puts.last == put);
        let is_majority = puts.last == put && puts.synced == MAJORITY;
        drop(puts);
        if is_majority { (&self.client).write_all(&ANSWER) } else { Ok(()) }
    }
}
