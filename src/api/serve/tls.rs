//! TLS, with a certificate that can be exchanged while the server runs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{path} holds no {wanted} in PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key are not a pair, or of a kind that is not known.
    #[error("the certificate and the key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The server's side of TLS.
pub struct Tls {
    files: Files,
    /// How the files looked when they were last read, for better or worse.
    seen: Mutex<Option<Looks>>,
    certificate: Arc<Certificate>,
    provider: Arc<CryptoProvider>,
    acceptor: TlsAcceptor,
}

/// Where certificate and key lie.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Time of change and size of both files.
type Looks = [(SystemTime, u64); 2];

impl Tls {
    /// Reads a certificate, with the chain behind it in the same file, and its key. TLS 1.2 and 1.3.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files {
            certificate: certificate.to_path_buf(),
            key: key.to_path_buf(),
        };
        let provider = Arc::new(ring::default_provider());
        let seen = files.looks();
        let current = Arc::new(Certificate(ArcSwap::from_pointee(files.read(&provider)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            files,
            seen: Mutex::new(seen),
            certificate: current,
            provider,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Takes up certificate and key if the files are others than before; connections that are open keep
    /// what they have. Says whether there was something new. Reads files: call it off the runtime.
    ///
    /// # Errors
    ///
    /// [`TlsError`], once for every change; the former certificate then stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        // A file that is missing is about to be replaced.
        let Some(looks) = self.files.looks() else {
            return Ok(false);
        };
        // Nothing panics while it holds the lock.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == Some(looks) {
            return Ok(false);
        }
        *seen = Some(looks);
        self.certificate
            .0
            .store(Arc::new(self.files.read(&self.provider)?));
        Ok(true)
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

impl Files {
    /// None where a file is missing.
    fn looks(&self) -> Option<Looks> {
        let look = |path: &Path| {
            let data = path.metadata().ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        Some([look(&self.certificate)?, look(&self.key)?])
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let fault = |path: &Path, wanted: &'static str| {
            let path = path.to_path_buf();
            move |source| TlsError::Pem {
                path,
                wanted,
                source,
            }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .and_then(|chain: Vec<_>| {
                if chain.is_empty() {
                    Err(pem::Error::NoItemsFound)
                } else {
                    Ok(chain)
                }
            })
            .map_err(fault(&self.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(fault(&self.key, "key"))?;
        CertifiedKey::from_der(chain, key, provider).map_err(TlsError::Pair)
    }
}

/// The certificate of this moment, whatever name a client asks for.
#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
