//! Which addresses named by users the hub reaches.

use allmende::config::{Networks, Value as _};
use allmende::outbound::{OutboundError, check, client, is_public};

fn networks(text: &str) -> Networks {
    Networks::parse(text).unwrap()
}

#[test]
fn only_addresses_of_the_public_internet_are_public() {
    for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2001:4860::1"] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    for private in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::a00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::",
        "3fff::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "5f00::1",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
}

#[test]
fn addresses_are_judged_as_they_are_written() {
    let (none, here) = (networks(""), networks("127.0.0.0/8, 10.1.0.0/16"));
    for good in ["https://example.org/hook?x=1", "https://example.org:8443/", "https://1.1.1.1/"] {
        assert!(check(good, &none).is_ok(), "{good}");
    }
    let wrong = |text: &str, networks: &Networks| check(text, networks).unwrap_err().to_string();
    for plain in ["http://example.org/", "http://1.1.1.1/", "ftp://example.org/", "file:///etc/passwd", "gopher://x/"] {
        assert_eq!(wrong(plain, &here), OutboundError::Plain.to_string(), "{plain}");
    }
    for private in [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "http://localhost/",
        "http://127.0.0.1:80/",
    ] {
        assert_eq!(wrong(private, &none), OutboundError::Private.to_string(), "{private}");
    }
    for bad in [
        "",
        "https://",
        "example.org",
        "https://user@example.org/",
        "https://u:p@example.org/",
        &format!("https://e.org/{}", "x".repeat(2048)),
    ] {
        assert_eq!(wrong(bad, &none), OutboundError::Url.to_string(), "{bad}");
    }
    for listed in ["https://127.0.0.1/", "http://127.0.0.1:8080/", "http://localhost:1/", "https://10.1.2.3/"] {
        assert!(check(listed, &here).is_ok(), "{listed}");
    }
    assert!(check("https://10.2.0.1/", &here).is_err());
    assert!(check("http://10.1.2.3/", &here).is_err(), "in clear only to this machine");
    for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "x/8", "::/129"] {
        assert!(Networks::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(networks("10.0.0.0/8,::1/128").render(), "10.0.0.0/8, ::1/128");
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_leads_to() {
    allmende::tls::install_provider();
    let refused = client("https://localhost/", &networks("")).await.map(drop).unwrap_err();
    assert!(matches!(refused, OutboundError::Private), "{refused}");
    let refused = client("https://localhost/", &networks("10.0.0.0/8")).await.map(drop).unwrap_err();
    assert!(matches!(refused, OutboundError::Private), "{refused}");
    assert!(client("http://localhost:1/", &networks("127.0.0.0/8, ::1/128")).await.is_ok());
    let unknown = client("https://no-such-host.invalid/", &networks("")).await.map(drop).unwrap_err();
    assert!(matches!(unknown, OutboundError::Unresolved) && unknown.may_pass(), "{unknown}");
}
