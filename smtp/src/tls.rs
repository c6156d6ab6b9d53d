//! The server's TLS identity: a certificate from files, or one that we make for ourselves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read a PEM {what} from {path}: {reason}; check the path and the file")]
    Pem { what: &'static str, path: PathBuf, reason: String },
    #[error("the certificate in {path} and its key cannot be used: {source}")]
    Pair { path: PathBuf, source: rustls::Error },
    #[error("cannot make a certificate for '{name}': {source}")]
    Make { name: String, source: rcgen::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Reads a certificate chain and its key, both PEM.
///
/// # Errors
/// [`TlsError::Pem`] and [`TlsError::Pair`].
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |what, path: &Path, reason: String| TlsError::Pem { what, path: path.to_owned(), reason };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| pem("certificate", certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(pem("certificate", certificate, "there is none in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| pem("private key", key, error.to_string()))?;
    let pair = |source| TlsError::Pair { path: certificate.to_owned(), source };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    Ok(Arc::new(config))
}

/// Reads `certificate.pem` and `key.pem` in `folder`; makes them, self-signed for `server_name`, when they are not
/// there. The key can be read by its owner alone.
///
/// # Errors
/// All of [`TlsError`].
pub fn load_or_make(folder: &Path, server_name: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    if !certificate.exists() || !key.exists() {
        make(folder, &certificate, &key, server_name)?;
    }
    load(&certificate, &key)
}

fn make(folder: &Path, certificate: &Path, key: &Path, server_name: &str) -> Result<(), TlsError> {
    let made = rcgen::generate_simple_self_signed([server_name.to_owned()])
        .map_err(|source| TlsError::Make { name: server_name.to_owned(), source })?;
    fs::create_dir_all(folder).map_err(|source| TlsError::Write { path: folder.to_owned(), source })?;
    write(key, 0o600, &made.signing_key.serialize_pem())?;
    write(certificate, 0o644, &made.cert.pem())?;
    tracing::info!(server_name, folder = %folder.display(), "self-signed certificate made");
    Ok(())
}

/// Writes a file whole or not at all, with `mode` from its first byte on.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), TlsError> {
    let partial = path.with_extension("partial");
    let result = || -> io::Result<()> {
        let _ = fs::remove_file(&partial);
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    result().map_err(|source| TlsError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        load_or_make(&tls, "mx.example").unwrap();
        let key = fs::read(tls.join("key.pem")).unwrap();
        assert_eq!(fs::metadata(tls.join("key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        load_or_make(&tls, "mx.example").unwrap();
        assert_eq!(fs::read(tls.join("key.pem")).unwrap(), key);
    }

    #[test]
    fn files_that_are_no_certificate_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        fs::write(&path, "not a certificate").unwrap();
        assert!(load(&path, &path).unwrap_err().to_string().contains("x.pem"));
        assert!(load(&folder.path().join("none"), &path).is_err());
    }
}
