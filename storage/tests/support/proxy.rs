//! A proxy before an HTTP service, which fails as networks and services do. One request per connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service is not asked; the answer has this status.
    Status(u16),
    /// The service is not asked; the answer is that its bucket is gone.
    NoBucket,
    /// The service is not asked; the connection breaks.
    Reset,
    /// The service does it; the connection breaks before the answer.
    LoseAnswer,
    /// The service does it; the answer comes this much later.
    Delay(Duration),
    /// Nothing happens.
    Hang,
    /// The connection breaks in the middle of the answer.
    CutAnswer,
    /// A byte at the end of the answer is another.
    ChangeAnswer,
}

#[derive(Default)]
struct Plan {
    /// For requests that begin so, in order.
    next: VecDeque<(String, Fault)>,
    /// For all requests that begin so.
    always: Option<(String, Fault)>,
    /// Method and target of each request.
    seen: Vec<String>,
}

pub struct Proxy {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Before `service`, `http://host:port`.
    pub async fn before(service: &str) -> Self {
        let upstream = service.strip_prefix("http://").expect("an http address").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, plan) = (listener.local_addr().unwrap(), Arc::<Mutex<Plan>>::default());
        let shared = plan.clone();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (upstream, plan) = (upstream.clone(), shared.clone());
                tokio::spawn(async move {
                    // A client that goes away is none of its business.
                    let _ = serve(client, &upstream, &plan).await;
                });
            }
        });
        Self { address, plan, _task: AbortOnDropHandle::new(task) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request whose first line begins with `begin` fails so, after those that were named before.
    pub fn next(&self, begin: &str, fault: Fault) {
        self.plan.lock().next.push_back((begin.to_owned(), fault));
    }

    /// All such requests fail so, from now on.
    pub fn always(&self, begin: &str, fault: Fault) {
        self.plan.lock().always = Some((begin.to_owned(), fault));
    }

    pub fn heal(&self) {
        let mut plan = self.plan.lock();
        plan.always = None;
        plan.next.clear();
    }

    /// Requests so far whose first line begins so.
    pub fn count(&self, begin: &str) -> usize {
        self.plan.lock().seen.iter().filter(|line| line.starts_with(begin)).count()
    }

    /// Whether all faults that were planned have happened.
    pub fn is_through(&self) -> bool {
        self.plan.lock().next.is_empty()
    }
}

impl Plan {
    fn fault(&mut self, line: &str) -> Option<Fault> {
        self.seen.push(line.to_owned());
        if let Some(at) = self.next.iter().position(|(begin, _)| line.starts_with(begin.as_str())) {
            return self.next.remove(at).map(|(_, fault)| fault);
        }
        self.always.as_ref().filter(|(begin, _)| line.starts_with(begin.as_str())).map(|(_, fault)| *fault)
    }
}

async fn serve(mut client: TcpStream, upstream: &str, plan: &Mutex<Plan>) -> io::Result<()> {
    let request = read_request(&mut client).await?;
    let line = String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let fault = plan.lock().fault(&line);
    match fault {
        Some(Fault::Reset) => return reset(client),
        Some(Fault::Hang) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            return Ok(());
        }
        Some(Fault::Status(status)) => return refuse(client, status, "InternalError").await,
        Some(Fault::NoBucket) => return refuse(client, 404, "NoSuchBucket").await,
        _ => {}
    }
    let mut answer = ask(upstream, &request).await?;
    match fault {
        Some(Fault::LoseAnswer) => return reset(client),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::CutAnswer) => {
            client.write_all(&answer[..answer.len() - answer.len() / 4]).await?;
            client.flush().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            return reset(client);
        }
        Some(Fault::ChangeAnswer) => {
            if let Some(last) = answer.last_mut() {
                *last ^= 1;
            }
        }
        _ => {}
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

async fn refuse(mut client: TcpStream, status: u16, code: &str) -> io::Result<()> {
    let body = format!("<Error><Code>{code}</Code></Error>");
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Fault\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    client.write_all((head + &body).as_bytes()).await
}

fn reset(client: TcpStream) -> io::Result<()> {
    client.set_zero_linger()
}

async fn ask(upstream: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut service = TcpStream::connect(upstream).await?;
    let end_of_line = request.windows(2).position(|bytes| bytes == b"\r\n").unwrap_or(0) + 2;
    service.write_all(&request[..end_of_line]).await?;
    service.write_all(b"Connection: close\r\n").await?;
    service.write_all(&request[end_of_line..]).await?;
    let mut answer = Vec::new();
    service.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Head and body.
async fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let head = loop {
        if client.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while request.len() < head + length {
        if client.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(request)
}
