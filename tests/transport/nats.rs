//! NATS keeps what every transport keeps, on a real server, and what is said of it alone.

#[path = "credentials.rs"]
mod credentials;
#[path = "../common/nats.rs"]
mod server;

use crate::contract::contract;
use crate::{Land, Place, Recorder, number, start};
use bytes::Bytes;
use fanfare::cluster::{Cluster, Health, Nats, NatsBuilder, NatsError, PAYLOAD_BYTES_MAX, Receiver, StartError, Taken};
use server::{Proxy, Server, Stranger, scratch};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

contract!(OneServer);

/// Nodes that each have a link of their own to one server.
struct OneServer(Server);

struct NatsPlace {
    // Ends before its link does.
    nats: Nats,
    proxy: Proxy,
}

impl Land for OneServer {
    type Place = NatsPlace;

    fn new() -> OneServer {
        OneServer(Server::start(""))
    }

    fn place(&self, buffer_bytes_max: usize) -> NatsPlace {
        let proxy = Proxy::to(self.0.address());
        let nats = quick(format!("nats://{}", proxy.address())).buffer_bytes_max(buffer_bytes_max).build().unwrap();
        NatsPlace { nats, proxy }
    }
}

impl Place for NatsPlace {
    fn cluster(&self) -> &dyn Cluster {
        &self.nats
    }

    fn cut(&self) {
        self.proxy.cut();
    }

    fn heal(&self) {
        self.proxy.heal();
    }
}

/// A node straight at the server.
impl Place for Nats {
    fn cluster(&self) -> &dyn Cluster {
        self
    }

    fn cut(&self) {
        unreachable!("it has no link of its own");
    }

    fn heal(&self) {
        self.cut();
    }
}

/// Attempts follow so fast that no test waits for one.
fn quick(url: String) -> NatsBuilder {
    Nats::builder(url).reconnect_delay_max(Duration::from_millis(20))
}

fn at(server: &Server) -> NatsBuilder {
    quick(server.address().to_string())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Both hear each other.
fn assert_joined(a: (&Nats, &Recorder), b: (&Nats, &Recorder), mark: u64) {
    assert_eq!(a.0.publish(9, number(mark)), Taken::Sent);
    b.1.before(9, &number(mark));
    assert_eq!(b.0.publish(9, number(mark + 1)), Taken::Sent);
    a.1.before(9, &number(mark + 1));
}

#[test]
fn a_server_may_come_later_and_come_again() {
    let _watchdog = crate::common::watch();
    let mut server = Server::start("");
    server.kill();
    let [a, b] = std::array::from_fn(|_| at(&server).build().unwrap());
    let [of_a, of_b]: [Arc<Recorder>; 2] = Default::default();
    a.start("a", of_a.clone()).unwrap();
    b.start("b", of_b.clone()).unwrap();
    assert_eq!(a.publish(0, number(0)), Taken::Buffered);
    for round in 1..4 {
        server.restart("");
        of_a.wait_until_ready();
        of_b.wait_until_ready();
        assert_joined((&a, &of_a), (&b, &of_b), 10 * round);
        server.kill();
        of_a.wait_until_away();
        of_b.wait_until_away();
        assert_eq!(a.publish(0, number(round)), Taken::Buffered);
    }
}

#[test]
fn another_address_is_tried_when_one_is_dead() {
    let _watchdog = crate::common::watch();
    let mut dead = Server::start("");
    dead.kill();
    let server = Server::start("");
    let a = at(&dead).url(server.address().to_string()).build().unwrap();
    let b = at(&server).build().unwrap();
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    assert_joined((&a, &of_a), (&b, &of_b), 0);
}

const WITH_USER: &str = "authorization { user: \"fan\", password: \"s3cret\" }";

#[test]
fn a_user_is_let_in_and_others_are_told() {
    let _watchdog = crate::common::watch();
    let mut server = Server::start(WITH_USER);
    let a = at(&server).user_and_password("fan", "s3cret").build().unwrap();
    let of_a = start(&a, "a");
    for wrong in [at(&server), at(&server).user_and_password("fan", "wrong"), at(&server).token("s3cret")] {
        let wrong = wrong.build().unwrap();
        for _ in 0..2 {
            let error = wrong.start("b", Arc::<Recorder>::default()).unwrap_err();
            assert!(matches!(error, StartError::Refused(_)), "{error:?}");
            assert_eq!(wrong.health(), Health::Stopped);
        }
    }
    // It is known at once only at the start; later it is why there is no link.
    server.restart("authorization { user: \"fan\", password: \"another\" }");
    of_a.wait_for_health(|health| health.to_string().contains("authorization violation"));
    assert!(!format!("{a:?}").contains("s3cret"));
    server.restart(WITH_USER);
    of_a.wait_until_ready();
}

#[test]
fn a_token_is_let_in() {
    let _watchdog = crate::common::watch();
    let server = Server::start("authorization { token: \"s3cret\" }");
    let a = at(&server).token("s3cret").build().unwrap();
    start(&a, "a");
    let wrong = at(&server).token("wrong").build().unwrap();
    assert!(matches!(wrong.start("b", Arc::<Recorder>::default()), Err(StartError::Refused(_))));
}

#[test]
fn a_server_is_trusted_by_its_certificate() {
    let _watchdog = crate::common::watch();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_file = scratch("authority", "pem");
    std::fs::write(&authority_file, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &rcgen::Issuer::new(authority, authority_key)).unwrap();
    let [certificate_file, key_file] = [scratch("certificate", "pem"), scratch("key", "pem")];
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let server = Server::start(&format!("tls {{ cert_file: {certificate_file:?}, key_file: {key_file:?} }}"));
    let port = server.address().port();

    let a = quick(format!("tls://localhost:{port}")).ca_file(&authority_file).build().unwrap();
    let b = quick(format!("localhost:{port}")).ca_file(&authority_file).require_tls(true).build().unwrap();
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    assert_joined((&a, &of_a), (&b, &of_b), 0);

    let of_the_system = quick(format!("tls://localhost:{port}"));
    let of_another_name = quick(format!("tls://127.0.0.1:{port}")).ca_file(&authority_file);
    for untrusted in [of_the_system, of_another_name] {
        let error = untrusted.build().unwrap().start("c", Arc::<Recorder>::default()).unwrap_err();
        assert!(matches!(error, StartError::Tls(_)), "{error:?}");
    }
    for none in [scratch("missing", "pem"), key_file] {
        assert!(matches!(quick("localhost".to_owned()).ca_file(none).build(), Err(NatsError::CaFile { .. })));
    }
}

#[test]
fn what_can_t_be_is_refused_when_it_is_built() {
    for url in ["", "http://host", "ws://host", "nats://", "nats://user:secret@host", "nats://host:port"] {
        let error = Nats::builder(url).build().unwrap_err();
        assert!(matches!(error, NatsError::Url { .. }), "{url}: {error:?}");
    }
    assert!(matches!(Nats::builder("host").prefix("a.*").build(), Err(NatsError::Prefix(prefix)) if prefix == "a.*"));
    let none = Nats::builder("host").credentials_file(scratch("missing", "creds")).build();
    assert!(matches!(none, Err(NatsError::Credentials { .. })));
    assert!(matches!(Nats::builder("host").received_payloads_max(0).build(), Err(NatsError::ReceivedPayloads)));
}

#[test]
fn nodes_of_another_prefix_are_not_seen() {
    let _watchdog = crate::common::watch();
    let server = Server::start("");
    let [a, b] = std::array::from_fn(|_| at(&server).prefix("one").build().unwrap());
    let other = at(&server).prefix("another").build().unwrap();
    let [of_a, of_b, of_other] = [start(&a, "a"), start(&b, "b"), start(&other, "b")];
    assert_joined((&a, &of_a), (&b, &of_b), 0);
    a.send("b", number(2));
    of_b.wait(|seen| (seen.payloads.len() == 2).then_some(()));
    assert!(other.flush(soon()) && of_other.payloads().is_empty());
}

#[test]
fn the_server_s_limit_of_payloads_holds() {
    let _watchdog = crate::common::watch();
    let mut server = Server::start("max_payload: 65536");
    let [a, b] = std::array::from_fn(|_| at(&server).build().unwrap());
    assert_eq!(a.payload_bytes_max(), PAYLOAD_BYTES_MAX);
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    assert_eq!(a.payload_bytes_max(), 65_536);
    let longest = Bytes::from(vec![0; 65_536]);
    assert_eq!(a.publish(0, longest.clone()), Taken::Sent);
    of_b.wait(|seen| seen.payloads.contains(&(Some(0), longest.clone())).then_some(()));
    // What is buffered and then too long is dropped, and what follows is not.
    server.kill();
    of_a.wait_until_away();
    of_b.wait_until_away();
    assert_eq!(a.publish(0, longest), Taken::Buffered);
    server.restart("max_payload: 1024");
    of_a.wait_until_ready();
    of_b.wait_until_ready();
    assert_eq!(a.payload_bytes_max(), 1024);
    assert_joined((&a, &of_a), (&b, &of_b), 0);
}

#[test]
fn strangers_do_no_harm() {
    let _watchdog = crate::common::watch();
    let server = Server::start("max_payload: 4194304");
    let [a, b] = std::array::from_fn(|_| at(&server).build().unwrap());
    let mut stranger = Stranger::at(server.address());
    // It hears everything, so that no question is left for the server to answer.
    stranger.say(b"SUB > 1\r\n");
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    for subject in ["fanfare.b.64", "fanfare.b.x", "fanfare.b.-1", "fanfare.b.1.2", "fanfare.n", "fanfare.s"] {
        stranger.publish(subject, b"nothing");
    }
    stranger.publish("fanfare.b.63", &vec![1; 3 << 20]);
    stranger.publish("fanfare.n.a", b"\xff\0");
    of_a.wait(|seen| (seen.payloads.len() == 2).then_some(()));
    let mut came = of_a.payloads();
    came.sort_by_key(|(partition, _)| *partition);
    assert_eq!(came[0], (None, Bytes::from_static(b"\xff\0")));
    assert_eq!((came[1].0, came[1].1.len()), (Some(63), 3 << 20));
    assert_joined((&a, &of_a), (&b, &of_b), 0);
}

#[test]
fn a_node_that_may_not_speak_says_so() {
    let _watchdog = crate::common::watch();
    let with = |permissions: &str| {
        format!("authorization {{ users: [{{ user: fan, password: fan, permissions: {{ {permissions} }} }}] }}")
    };
    let mut server = Server::start(&with("publish: \"fanfare.>\", subscribe: \"elsewhere.>\""));
    let a = at(&server).user_and_password("fan", "fan").build().unwrap();
    let of_a = Arc::new(Recorder::default());
    std::thread::scope(|scope| {
        let begun = scope.spawn(|| a.start("a", of_a.clone()));
        of_a.wait_for_health(|health| health.to_string().contains("Permissions Violation"));
        // All that a node needs is its own prefix.
        server.restart(&with("publish: \"fanfare.>\", subscribe: \"fanfare.>\""));
        of_a.wait_until_ready();
        begun.join().unwrap().unwrap();
    });
}

/// Says that something has come, and returns when it is told to.
struct Slow(Recorder, Sender<()>, std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Receiver for Slow {
    fn receive(&self, partition: Option<u16>, payload: Bytes) {
        self.0.receive(partition, payload);
        let _ = self.1.send(());
        // An error says that nobody holds it any more.
        let _ = self.2.lock().unwrap().recv();
    }

    fn lost(&self) {
        self.0.lost();
    }
}

#[test]
fn a_node_that_is_too_slow_is_told() {
    let _watchdog = crate::common::watch();
    let server = Server::start("");
    let [a, b] = [at(&server).build().unwrap(), at(&server).received_payloads_max(1).build().unwrap()];
    start(&a, "a");
    let (came, has_come) = channel();
    let (go, gone) = channel();
    let of_b = Arc::new(Slow(Recorder::default(), came, gone.into()));
    b.start("b", of_b.clone()).unwrap();
    a.publish(0, number(0));
    has_come.recv().unwrap();
    for n in 1..1000 {
        assert_eq!(a.publish(0, number(n)), Taken::Sent);
    }
    assert!(a.flush(soon()));
    // All of it is at the socket now, and comes in one go.
    drop(go);
    of_b.0.wait(|seen| (seen.lost > 0).then_some(()));
    assert!(of_b.0.payloads().len() < 1000);
}

#[test]
fn a_flood_of_small_payloads_comes_whole() {
    // More than may wait for the receiver.
    const PAYLOADS: u64 = 600_000;
    let _watchdog = crate::common::watch();
    let server = Server::start("");
    let [a, b] = std::array::from_fn(|_| at(&server).buffer_bytes_max(64 << 20).build().unwrap());
    start(&a, "a");
    let of_b = start(&b, "b");
    for n in 0..PAYLOADS {
        assert_eq!(a.publish(0, number(n)), Taken::Sent);
    }
    assert!(a.flush(soon()));
    a.publish(1, number(0));
    of_b.wait(|seen| (seen.payloads.last()?.0 == Some(1)).then_some(()));
    assert_eq!(of_b.payloads().len() as u64, PAYLOADS + 1);
    assert_eq!(of_b.seen.lock().unwrap().lost, 0);
}
