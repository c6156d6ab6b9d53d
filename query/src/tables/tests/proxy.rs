//! A proxy that loses what a test wants lost.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of the next request that has some text in it. The connection is closed after it.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) needle: &'static str,
    /// Whether the server gets the request, and is waited for.
    pub(super) is_done: bool,
    /// What the client gets in place of the server's answer.
    pub(super) answer: &'static str,
}

#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    losses: Arc<Mutex<Vec<Loss>>>,
}

impl Proxy {
    /// Listens, and connects each client to `target` (host and port).
    pub(super) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), losses: Arc::default() };
        let losses = proxy.losses.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, losses) = (target.clone(), losses.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        pass(client, server, &losses).await;
                    }
                });
            }
        });
        proxy
    }

    pub(super) fn lose(&self, loss: Loss) {
        self.losses.lock().push(loss);
    }

    pub(super) fn is_armed(&self) -> bool {
        !self.losses.lock().is_empty()
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, losses: &Mutex<Vec<Loss>>) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Some(read) = read.ok().filter(|read| *read > 0) else { return };
                let has = |loss: &mut Loss| {
                    up[..read].windows(loss.needle.len()).any(|window| window == loss.needle.as_bytes())
                };
                let loss = losses.lock().pop_if(has);
                if loss.as_ref().is_none_or(|loss| loss.is_done) && server.write_all(&up[..read]).await.is_err() {
                    return;
                }
                if let Some(loss) = loss {
                    if loss.is_done {
                        let _ = server.read(&mut down).await;
                    }
                    let _ = client.write_all(loss.answer.as_bytes()).await;
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Some(read) = read.ok().filter(|read| *read > 0) else { return };
                if client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
