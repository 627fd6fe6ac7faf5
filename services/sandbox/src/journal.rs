//! The append-only journal: one JSON array of states per line, each line one act.
//!
//! A line is on disk (fsync) before the answer of the act that wrote it leaves. Many acts share one
//! fsync. Replay tolerates a torn last line and nothing else. It never shrinks the file: the data
//! folder of a sandbox is thrown away when it has grown too large.

use crate::error::Error;
use crate::notifications::Notification;
use crate::orders::Order;
use crate::refunds::Refund;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Acts that share one fsync at most.
const BATCH_MAX: usize = 1_024;

/// The whole state of one thing after an act; replay keeps the last one of each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Entry {
    #[serde(rename = "order.v1")]
    Order(Order),
    #[serde(rename = "refund.v1")]
    Refund(Refund),
    #[serde(rename = "notification.v1")]
    Notification(Notification),
}

enum Work {
    Line(Vec<u8>),
    Settle(oneshot::Sender<bool>),
}

/// The writing end. What it writes is kept in the order of `append`.
#[derive(Debug)]
pub(crate) struct Journal {
    // The queue needs no bound: each request appends a few lines and then waits to be settled.
    work: Option<Sender<Work>>,
    writer: Option<JoinHandle<()>>,
    lost: Arc<AtomicBool>,
}

impl Journal {
    /// Opens the journal, giving every entry in it to `replay`, and cuts off a torn last line.
    pub(crate) fn open(path: &Path, mut replay: impl FnMut(Entry)) -> Result<Self, Error> {
        let at = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        let whole_bytes = read_lines(path, &mut file, &mut replay)?;
        file.set_len(whole_bytes)
            .and_then(|()| file.sync_all())
            .map_err(at)?;
        let _end = file.seek(SeekFrom::End(0)).map_err(at)?;
        let (work, queue) = channel();
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        let writer = std::thread::Builder::new()
            .name("sandbox-journal".to_owned())
            .spawn(move || write(&mut file, &queue, &flag))
            .map_err(at)?;
        Ok(Self {
            work: Some(work),
            writer: Some(writer),
            lost,
        })
    }

    /// Queues one act. Call it while holding the lock under which the act was decided.
    pub(crate) fn append(&self, entries: &[Entry]) {
        let sent = serde_json::to_vec(entries).ok().and_then(|mut line| {
            line.push(b'\n');
            self.work.as_ref()?.send(Work::Line(line)).ok()
        });
        if sent.is_none() {
            self.lost.store(true, Ordering::SeqCst);
        }
    }

    /// Waits until everything appended so far is on disk.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        let (done, settled) = oneshot::channel();
        let sent = self
            .work
            .as_ref()
            .is_some_and(|work| work.send(Work::Settle(done)).is_ok());
        if sent && settled.await.unwrap_or(false) {
            Ok(())
        } else {
            Err(Error::JournalLost)
        }
    }

    /// Whether a write failed: memory is then ahead of the disk and no act is taken any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing the queue ends the writer once it has drained; the file's lock goes with it.
        drop(self.work.take());
        if let Some(writer) = self.writer.take() {
            let _ended = writer.join();
        }
    }
}

fn read_lines(path: &Path, file: &mut File, replay: &mut impl FnMut(Entry)) -> Result<u64, Error> {
    let mut reader = BufReader::new(file);
    let (mut line, mut number, mut whole_bytes) = (Vec::new(), 0_usize, 0_u64);
    loop {
        line.clear();
        let bytes = reader
            .read_until(b'\n', &mut line)
            .map_err(|source| Error::File {
                path: path.to_owned(),
                source,
            })?;
        number += 1;
        if bytes == 0 || line.last() != Some(&b'\n') {
            // The end, or a line the power cut: its act was never answered.
            return Ok(whole_bytes);
        }
        let entries: Vec<Entry> =
            serde_json::from_slice(&line).map_err(|problem| Error::Journal {
                path: path.to_owned(),
                line: number,
                problem: problem.to_string(),
            })?;
        entries.into_iter().for_each(&mut *replay);
        whole_bytes += u64::try_from(bytes).unwrap_or(0);
    }
}

fn write(file: &mut File, queue: &Receiver<Work>, lost: &AtomicBool) {
    while let Ok(first) = queue.recv() {
        let (mut bytes, mut waiting) = (Vec::new(), Vec::new());
        for work in std::iter::once(first)
            .chain(queue.try_iter())
            .take(BATCH_MAX)
        {
            match work {
                Work::Line(mut line) => bytes.append(&mut line),
                Work::Settle(done) => waiting.push(done),
            }
        }
        if !bytes.is_empty() && !lost.load(Ordering::SeqCst) {
            // After one failed write nothing more is written, so that no hole can appear.
            let written = file.write_all(&bytes).and_then(|()| file.sync_data());
            if let Err(problem) = written {
                tracing::error!(%problem, "the sandbox's journal cannot be written");
                lost.store(true, Ordering::SeqCst);
            }
        }
        let good = !lost.load(Ordering::SeqCst);
        for done in waiting {
            // Whoever asked may have hung up; nobody else cares for the answer.
            let _gone = done.send(good);
        }
    }
}
