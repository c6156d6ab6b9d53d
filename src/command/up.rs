//! `millrace up` and `millrace run`.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::config::Config;
use crate::node::{Node, Role};

pub async fn run(config: Config, roles: &[Role]) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be watched")?;
    let node = Node::open(config).await?;
    let addresses = node.start(roles).await?;
    node.serve_admin()?;
    for (name, address) in &addresses {
        println!("listening {name} {address}");
    }
    if node.is_new {
        welcome(&node, &addresses);
    }
    tokio::select! {
        _ = terminate.recv() => info!("asked to end: taking no more mail, landing what there is"),
        _ = interrupt.recv() => info!("interrupted: taking no more mail, landing what there is"),
        failed = node.failed() => anyhow::bail!("{failed}"),
    }
    node.stop().await
}

/// What a first start says: how to see mail flow.
fn welcome(node: &Node, addresses: &[(&'static str, std::net::SocketAddr)]) {
    let address = |wanted| addresses.iter().find(|(name, _)| *name == wanted).map(|(_, address)| *address);
    let (Some(smtp), Some(http)) = (address("smtp"), address("http")) else { return };
    let data = node.config.data_dir.display();
    eprintln!(
        "
This is a new data directory. It takes mail for the domain millrace.test. In another terminal:

  echo secret | millrace --data {data} account add alice@millrace.test --password-stdin
  curl --crlf --mail-from bob@example.org --mail-rcpt alice@millrace.test \\
       --upload-file - smtp://{smtp} <<< $'From: bob@example.org\\nSubject: Hello\\n\\nFirst message.'
  curl --user alice@millrace.test:secret http://{http}/.well-known/jmap --location
  millrace --data {data} query 'SELECT subject, from_address FROM mailbox'
"
    );
}
