//! An authoritative name server for tests: real packets over UDP on a port of its own.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, MX, PTR, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// What the server knows.
#[derive(Clone, Default)]
pub struct Zone {
    records: HashMap<(Name, RecordType), Vec<RData>>,
    /// Names that get no answer at all.
    silent: HashSet<Name>,
    /// Names that get SERVFAIL.
    failing: HashSet<Name>,
    is_dead: bool,
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).expect("a name")
}

impl Zone {
    fn with(mut self, owner: &str, data: RData) -> Self {
        self.records.entry((name(owner), data.record_type())).or_default().push(data);
        self
    }

    pub fn txt(self, owner: &str, text: &str) -> Self {
        let parts = text.as_bytes().chunks(200).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        self.with(owner, RData::TXT(TXT::new(parts)))
    }

    pub fn a(self, owner: &str, address: &str) -> Self {
        self.with(owner, RData::A(A(address.parse().expect("an address"))))
    }

    pub fn aaaa(self, owner: &str, address: &str) -> Self {
        self.with(owner, RData::AAAA(AAAA(address.parse().expect("an address"))))
    }

    pub fn mx(self, owner: &str, exchange: &str) -> Self {
        self.with(owner, RData::MX(MX::new(10, name(exchange))))
    }

    pub fn ptr(self, owner: &str, target: &str) -> Self {
        self.with(owner, RData::PTR(PTR(name(target))))
    }

    pub fn silent(mut self, owner: &str) -> Self {
        self.silent.insert(name(owner));
        self
    }

    pub fn failing(mut self, owner: &str) -> Self {
        self.failing.insert(name(owner));
        self
    }

    /// Answers nothing, not even for the root.
    pub fn dead(mut self) -> Self {
        self.is_dead = true;
        self
    }

    /// Starts the server. Returns its address and a count of the questions it gets.
    pub async fn serve(self) -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            let mut packet = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                counted.fetch_add(1, Ordering::Relaxed);
                let Some(reply) = Message::from_vec(&packet[..length]).ok().and_then(|query| self.reply(&query)) else {
                    continue;
                };
                socket.send_to(&reply.to_vec().expect("a packet"), peer).await.expect("sent");
            }
        });
        (address, count)
    }

    fn reply(&self, query: &Message) -> Option<Message> {
        let question = query.queries.first()?;
        let owner = question.name().to_lowercase();
        if self.is_dead || self.silent.contains(&owner) {
            return None;
        }
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.authoritative = true;
        reply.metadata.recursion_available = true;
        reply.add_query(question.clone());
        if self.failing.contains(&owner) {
            reply.metadata.response_code = ResponseCode::ServFail;
        } else if let Some(found) = self.records.get(&(owner.clone(), question.query_type())) {
            let record = |data: &RData| Record::from_rdata(question.name().clone(), 300, data.clone());
            reply.add_answers(found.iter().map(record));
        } else if !self.records.keys().any(|(known, _)| *known == owner) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        Some(reply)
    }
}
