//! Downloads from a server in this process: one thread, one connection at a time.

use super::*;
use crate::{ModelDir, Weight, Weights, model_dir::resolve_with};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the server behaves.
#[derive(Clone, Default)]
struct Behaviour {
    files: BTreeMap<String, Vec<u8>>,
    /// Answers everything with this status.
    refuse: Option<u16>,
    /// Closes the connection after this many bytes of a weights file, once.
    cut: Option<usize>,
    /// Gives the file a wrong digest as its name.
    wrong_digest: bool,
    /// Announces more than it sends, without a length for the transport to notice.
    without_length: bool,
}

struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(Mutex::new(false));
        let (log, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let cut = Arc::new(Mutex::new(behaviour.cut));
        let thread = std::thread::spawn(move || {
            // A bound on its own: no test makes a hundred requests.
            for stream in listener.incoming().take(100) {
                if *stopped.lock().unwrap() {
                    break;
                }
                if let Ok(stream) = stream {
                    let _ = answer(stream, &behaviour, &cut, &log);
                }
            }
        });
        Self { address, requests, stop, thread: Some(thread) }
    }

    fn asked_for(&self, what: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|line| line.contains(what)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(
    mut stream: TcpStream,
    behaviour: &Behaviour,
    cut: &Mutex<Option<usize>>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = String::new();
    let mut range = None;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if request.is_empty() {
            request = line.trim().to_owned();
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("range: bytes=") {
            let (from, to) = value.trim().split_once('-').unwrap();
            range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()));
        }
        if lower.starts_with("authorization") {
            request.push_str(" with token");
        }
    }
    log.lock().unwrap().push(format!("{request} {range:?}"));
    let path = request.split(' ').nth(1).unwrap_or_default();
    if let Some(status) = behaviour.refuse {
        return write!(
            stream,
            "HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    if path == "/api/models/org/model/revision/main" {
        let siblings: Vec<_> =
            behaviour.files.keys().map(|name| json!({ "rfilename": name })).collect();
        let body = json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        let length = body.len();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
    }
    let name = path.strip_prefix("/org/model/resolve/main/").unwrap_or_default();
    let Some(bytes) = behaviour.files.get(name) else {
        return write!(stream, "HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let (from, to) = range.unwrap_or((0, None));
    let end = to.map_or(bytes.len(), |to| (to + 1).min(bytes.len()));
    let mut body = &bytes[from.min(end)..end];
    let digest = if name.ends_with("safetensors") && behaviour.wrong_digest {
        "0".repeat(64)
    } else {
        format!("{name}-1")
    };
    write!(
        stream,
        "HTTP/1.1 206 Partial\r\netag: \"{digest}\"\r\nx-repo-commit: {COMMIT}\r\n\
         content-range: bytes {from}-{}/{}\r\nconnection: close\r\n",
        end.saturating_sub(1),
        bytes.len()
    )?;
    if !behaviour.without_length || to.is_some() {
        write!(stream, "content-length: {}\r\n", body.len())?;
    }
    write!(stream, "\r\n")?;
    if to.is_none()
        && name.ends_with("safetensors")
        && let Some(most) = cut.lock().unwrap().take()
    {
        body = &body[..most.min(body.len())];
    }
    stream.write_all(body)
}

/// A model of one tensor as a server would have it.
fn files() -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let mut weights = Weights::default();
    let values = (0..400).map(|at| at as f32).collect();
    weights.tensors.insert("a".into(), Weight { shape: vec![400], values });
    ModelDir::write(dir.path(), &json!({ "model_type": "test" }), &weights).unwrap();
    [CONFIG, SAFETENSORS]
        .map(|name| (name.to_owned(), fs::read(dir.path().join(name)).unwrap()))
        .into()
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub { endpoint: server.address.clone(), cache: cache.join("hub"), token: None, offline: false }
}

fn id() -> HubId {
    HubId::parse("org/model").unwrap()
}

#[test]
fn ids_are_checked() {
    let id = HubId::parse("ibm-granite/granite-ttm_r2.1@refs/pr/1").unwrap();
    assert_eq!(id.repo, "ibm-granite/granite-ttm_r2.1");
    assert_eq!(id.revision, "refs/pr/1");
    for wrong in ["", "model", "a/b/c", "../b", "a/..", "a/b@", "a/b@../..", "a b/c", "/a/b"] {
        assert!(matches!(HubId::parse(wrong), Err(HubError::Id { .. })), "{wrong}");
    }
}

#[test]
fn a_model_is_downloaded_once_then_read_from_the_cache() {
    let server = Server::start(Behaviour { files: files(), ..Default::default() });
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&server, dir.path());
    let model = resolve_with("org/model", dir.path(), || Ok(hub.clone())).unwrap();
    assert_eq!(model.model_type(), "test");
    assert_eq!(model.weights().unwrap().tensors["a"].values[399], 399.0);
    let asked = server.requests.lock().unwrap().len();
    let offline = Hub { offline: true, ..hub };
    assert_eq!(offline.fetch(&id()).unwrap(), model.path);
    assert_eq!(server.requests.lock().unwrap().len(), asked, "nothing more was asked");
}

#[test]
fn shards_are_downloaded() {
    let mut files = files();
    let shard = files.remove(SAFETENSORS).unwrap();
    files.insert("model-00001-of-00001.safetensors".into(), shard);
    let index = br#"{"weight_map":{"a":"model-00001-of-00001.safetensors"}}"#;
    files.insert(SAFETENSORS_INDEX.into(), index.to_vec());
    let server = Server::start(Behaviour { files, ..Default::default() });
    let dir = tempfile::tempdir().unwrap();
    let path = hub(&server, dir.path()).fetch(&id()).unwrap();
    assert_eq!(ModelDir::open(&path).unwrap().parameters().unwrap(), 400);
}

#[test]
fn offline_without_a_copy_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour::default());
    let hub = Hub { offline: true, ..hub(&server, dir.path()) };
    let error = hub.fetch(&id()).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("org/model"), "{error}");
    assert_eq!(server.asked_for("GET"), 0);
}

#[test]
fn refusals_say_what_to_do() {
    for (status, token, expected) in [
        (404, None, "check the spelling"),
        (401, None, "HF_TOKEN"),
        (403, Some("secret".to_owned()), "refused"),
        (500, None, "status 500"),
    ] {
        let server = Server::start(Behaviour { refuse: Some(status), ..Default::default() });
        let dir = tempfile::tempdir().unwrap();
        let sent = usize::from(token.is_some());
        let hub = Hub { token, ..hub(&server, dir.path()) };
        let error = hub.fetch(&id()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("org/model"), "{status}: {error}");
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(server.asked_for("with token"), sent);
    }
}

#[test]
fn no_server_is_no_network() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour::default());
    let hub = hub(&server, dir.path());
    drop(server);
    let error = hub.fetch(&id()).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    for without_length in [false, true] {
        let behaviour =
            Behaviour { files: files(), cut: Some(100), without_length, ..Default::default() };
        let server = Server::start(behaviour);
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(&server, dir.path());
        let error = hub.fetch(&id()).unwrap_err();
        assert!(matches!(error, HubError::Interrupted { .. }), "{error:?}");
        assert!(error.to_string().contains("again"), "{error}");
        let path = hub.fetch(&id()).unwrap();
        assert_eq!(Weights::read_dir(&path).unwrap().tensors["a"].values[399], 399.0);
        assert_eq!(server.asked_for("(100, None)"), 1, "resumed at byte 100");
    }
}

#[test]
fn a_wrong_digest_is_not_kept() {
    let behaviour = Behaviour { files: files(), wrong_digest: true, ..Default::default() };
    let server = Server::start(behaviour);
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&server, dir.path());
    let error = hub.fetch(&id()).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(hub.cached(&id()), None);
}

#[test]
fn a_repository_without_weights_is_named() {
    let mut files = files();
    files.remove(SAFETENSORS);
    let server = Server::start(Behaviour { files, ..Default::default() });
    let dir = tempfile::tempdir().unwrap();
    let error = hub(&server, dir.path()).fetch(&id()).unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error:?}");
}
