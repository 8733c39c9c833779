use super::*;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let config = Config::parse("conclave.toml", text)?.overridden(text, environment)?;
    config.validate()?;
    Ok(config)
}

fn error(text: &str, environment: &[(&str, &str)]) -> String {
    parse(text, environment).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_a_working_node() {
    let config = parse("", &[]).unwrap();
    assert_eq!((config.http.port, config.media.port), (7880, 7882));
    assert_eq!(config.metrics.address.to_string(), "127.0.0.1:7889");
    assert!(config.shards() >= 1);
    assert!(!config.media_addresses().is_empty());
    assert!(!config.dev);
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let message = error("[http]\nport = 1\n\n[media]\nport = 2\nports = 3\n", &[]);
    assert!(
        message.starts_with("conclave.toml, line 6: unknown field `ports`"),
        "{message}"
    );
    assert!(error("dev = true", &[]).starts_with("conclave.toml, line 1: unknown field `dev`"));
    assert!(error("\n[room]\nempty_time = 3", &[]).contains("line 3: unknown field `empty_time`"));
    assert!(error("\n\n[http\n", &[]).contains("line 3"));
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "[http]\nport = 1\n[keys]\nold = \"a\"\n";
    let environment = [
        ("CONCLAVE_HTTP_PORT", "8080"),
        ("CONCLAVE_HTTP_BIND", "['127.0.0.1', '::1']"),
        ("CONCLAVE_ROOM_EMPTY_TIMEOUT", "7"),
        ("CONCLAVE_ROOM_REGION", "paris"),
        ("CONCLAVE_LOG_FILTER", "warn,sfu=debug"),
        ("CONCLAVE_METRICS_ENABLED", "false"),
        ("PATH", "/bin"),
    ];
    let config = parse(text, &environment).unwrap();
    assert_eq!((config.http.port, config.http.bind.len()), (8080, 2));
    assert_eq!(
        (config.room.empty_timeout, config.room.region.as_str()),
        (7, "paris")
    );
    assert_eq!(config.log.filter, "warn,sfu=debug");
    assert!(!config.metrics.enabled);
    assert_eq!(config.keys.ids().collect::<Vec<_>>(), ["old"]);
}

#[test]
fn keys_of_the_environment_replace_those_of_the_file() {
    let text = "[keys]\nold = \"a\"\n";
    let environment = [
        ("CONCLAVE_KEYS", "one: s1, two:s2"),
        ("CONCLAVE_HTTP_PORT", "1"),
    ];
    let config = parse(text, &environment).unwrap();
    assert_eq!(config.keys.ids().collect::<Vec<_>>(), ["one", "two"]);
    assert!(error("", &[("CONCLAVE_KEYS", "nonsense")]).contains("CONCLAVE_KEYS"));
    assert!(error("", &[("CONCLAVE_KEYS", "id:")]).contains("needs a secret"));
}

#[test]
fn a_wrong_value_of_a_variable_names_it() {
    let message = error("", &[("CONCLAVE_HTTP_PORT", "many")]);
    assert!(
        message.starts_with("environment variable CONCLAVE_HTTP_PORT: invalid"),
        "{message}"
    );
}

#[test]
fn a_variable_that_is_none_is_refused_with_the_one_that_was_meant() {
    for (wrong, right) in [
        ("CONCLAVE_HTTP_PORTS", "CONCLAVE_HTTP_PORT"),
        ("CONCLAVE_HTPP_PORT", "CONCLAVE_HTTP_PORT"),
        ("CONCLAVE_MEDIA_ADDRESS", "CONCLAVE_MEDIA_ADDRESSES"),
        ("CONCLAVE_MEETING_START", "CONCLAVE_MEETINGS_START"),
        ("CONCLAVE_WEBHOOKS_URLS", "CONCLAVE_WEBHOOK_URLS"),
        ("CONCLAVE_ROOM_EMPTYTIMEOUT", "CONCLAVE_ROOM_EMPTY_TIMEOUT"),
        ("CONCLAVE_KEY", "CONCLAVE_KEYS"),
    ] {
        let message = error("", &[(wrong, "1")]);
        assert_eq!(
            message,
            format!(
                "environment variable {wrong}: there is no such setting, did you mean {right}?"
            )
        );
    }
    for wrong in [
        "CONCLAVE_",
        "CONCLAVE_DEV",
        "CONCLAVE_HTTP",
        "CONCLAVE_COLOUR",
    ] {
        let message = error("", &[(wrong, "1")]);
        assert_eq!(
            message,
            format!("environment variable {wrong}: there is no such setting")
        );
    }
}

#[test]
fn every_setting_has_a_variable() {
    for (section, key, value) in [
        ("http", "trusted_proxies", "[]"),
        ("room", "empty_timeout", "1"),
        ("limits", "max_media_connections", "1"),
        ("shutdown", "drain_seconds", "1"),
    ] {
        let name = format!("CONCLAVE_{}_{}", section, key).to_ascii_uppercase();
        assert_eq!(variables::setting(&name), Some((section, key)));
        parse("", &[(name.as_str(), value)]).unwrap();
        // As some shells and orchestrators write them.
        let mixed = format!("CONCLAVE_{section}_{key}");
        parse("", &[(mixed.as_str(), value)]).unwrap();
    }
}

#[test]
fn what_others_set_is_not_ours() {
    let environment = [
        // What Kubernetes sets for services named `conclave` and `conclave-turn`.
        ("CONCLAVE_PORT", "tcp://10.0.0.1:7880"),
        ("CONCLAVE_SERVICE_HOST", "10.0.0.1"),
        ("CONCLAVE_SERVICE_PORT", "7880"),
        ("CONCLAVE_SERVICE_PORT_HTTP", "7880"),
        ("CONCLAVE_PORT_7880_TCP", "tcp://10.0.0.1:7880"),
        ("CONCLAVE_PORT_7880_TCP_PROTO", "tcp"),
        ("CONCLAVE_PORT_7880_TCP_PORT", "7880"),
        ("CONCLAVE_PORT_7880_TCP_ADDR", "10.0.0.1"),
        ("CONCLAVE_TURN_PORT", "udp://10.0.0.2:3478"),
        ("CONCLAVE_TURN_PORT_3478_UDP_ADDR", "10.0.0.2"),
        // What `conclave token create` reads.
        ("CONCLAVE_API_SECRET", "hush"),
    ];
    let config = parse("", &environment).unwrap();
    assert_eq!((config.http.port, config.turn.port), (7880, 3478));
    // Who names a port so means ours.
    assert!(error("", &[("CONCLAVE_PORT", "7880")]).contains("CONCLAVE_PORT: there is no such"));
    assert!(
        error("", &[("CONCLAVE_TURN_PORT", "no port")]).contains("CONCLAVE_TURN_PORT: invalid")
    );
}

#[test]
fn secrets_are_never_printed() {
    let config = parse("[keys]\nmine = \"hush-hush\"\n", &[]).unwrap();
    let printed = format!("{config:?}");
    assert!(
        printed.contains("mine") && !printed.contains("hush"),
        "{printed}"
    );
    assert!(!error("[keys]\nmine = 4711\n", &[]).contains("4711"));
    assert!(error("[keys]\nmine = \"\"\n", &[]).contains("API key mine needs a secret"));
}

#[test]
fn development_mode_answers_on_loopback_and_sends_media_by_the_interfaces_too() {
    let config = Config::default().into_dev(None);
    assert!(config.http.bind.iter().all(IpAddr::is_loopback));
    // Firefox sends no media over loopback.
    let (loopback, others): (Vec<IpAddr>, Vec<IpAddr>) = config
        .media_addresses()
        .iter()
        .partition(|ip| ip.is_loopback());
    assert_eq!(loopback.len(), 2);
    assert_eq!(
        others,
        interface_addresses()
            .into_iter()
            .take(MAX_ADDRESSES - 2)
            .collect::<Vec<_>>()
    );
    assert_eq!(config.keys.ids().collect::<Vec<_>>(), [DEV_KEY]);
    let config = Config::default().into_dev(Some("192.0.2.7".parse().unwrap()));
    assert_eq!(
        (
            config.http.bind[0].to_string(),
            config.media.addresses.len()
        ),
        ("192.0.2.7".to_owned(), 1)
    );
    let config = Config::default().into_dev(Some("0.0.0.0".parse().unwrap()));
    assert!(config.media.addresses.contains(&Ipv4Addr::LOCALHOST.into()));
    config.validate().unwrap();
}

#[test]
fn values_that_cannot_work_are_refused() {
    assert!(error("[http]\nbind = []", &[]).contains("http.bind"));
    assert!(error("[media]\nport = 65530\nshards = 10", &[]).contains("media.port"));
    assert!(error("[media]\naddresses = ['0.0.0.0']", &[]).contains("media.addresses"));
    for url in [
        "",
        "meet.example.org",
        "ftp://meet.example.org",
        "https://",
        "/hook",
    ] {
        let text = format!("[webhook]\nurls = ['{url}']");
        assert!(error(&text, &[]).contains("webhook.urls"), "{url}");
    }
}

#[test]
fn what_would_silently_do_nothing_is_refused_by_its_name() {
    for (text, named) in [
        ("[tls]\nkey = 'key.pem'", "tls.certificate"),
        ("[meetings]\nkeep_days = 0", "meetings.keep_days"),
        ("[webhook]\nmax_queued_mb = 0", "webhook.max_queued_mb"),
        (
            "[webhook]\nurls = ['http://a/', 'http://b/', 'http://a/']",
            "webhook.urls names an address twice",
        ),
        (
            "[webhook]\nurls = ['http://a/']\nfile = 'x.db'\n[meetings]\nfile = 'x.db'",
            "meetings.file",
        ),
        (
            "[webhook]\nurls = ['http://a/']\nfile = 'conclave-meetings.db'",
            "meetings.file",
        ),
        ("[keys]\n'~meetings' = 'hush'", "~meetings"),
        ("[http]\nprefix = 'livekit'", "http.prefix"),
        ("[http]\nprefix = '/live kit'", "http.prefix"),
        ("[http]\nprefix = '/live%20kit'", "http.prefix"),
        ("[http]\nprefix = '/livekit?x'", "http.prefix"),
        ("[http]\nprefix = '//livekit'", "http.prefix"),
    ] {
        let message = error(text, &[]);
        assert!(message.contains(named), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
    for limit in [
        "max_rooms",
        "max_participants_per_shard",
        "max_rooms_per_key",
        "max_connections",
        "max_connections_per_address",
        "max_strangers_per_address",
        "max_data_rate",
        "max_media_connections",
    ] {
        let message = error(&format!("[limits]\n{limit} = 0"), &[]);
        assert!(message.contains(&format!("limits.{limit} ")), "{message}");
        parse(&format!("[limits]\n{limit} = 1"), &[]).unwrap();
    }
    parse("[http]\nprefix = '/livekit/sfu_1.2~x-y/'", &[]).unwrap();
    let both = "[meetings]\nfile = 'x.db'\n[webhook]\nfile = 'x.db'";
    parse(both, &[]).expect("without receivers no file is made");
}

#[test]
fn meetings_are_started_and_entered_by_whom_the_settings_allow() {
    let of = |text: &str| {
        let meetings = parse(text, &[]).unwrap().meetings;
        (meetings.start, meetings.join())
    };
    let (nobody, anyone) = (StartMeetings::Nobody, StartMeetings::Anyone);
    assert_eq!(of(""), (nobody, JoinMeetings::Token));
    // Whoever allows meetings to be started wants people to come in.
    assert_eq!(
        of("[meetings]\nstart = 'anyone'"),
        (anyone, JoinMeetings::Link)
    );
    assert_eq!(
        of("[meetings]\nstart = 'anyone'\njoin = 'token'"),
        (anyone, JoinMeetings::Token)
    );
    assert_eq!(
        of("[meetings]\njoin = 'link'"),
        (nobody, JoinMeetings::Link)
    );
    assert!(error("[meetings]\nstart = 'all'", &[]).contains("line 2: unknown variant `all`"));
    let environment = [("CONCLAVE_MEETINGS_START", "anyone")];
    assert_eq!(parse("", &environment).unwrap().meetings.start, anyone);
    let config = parse("[meetings]\nstart = 'nobody'", &[])
        .unwrap()
        .into_dev(None);
    assert_eq!(
        (config.meetings.start, config.meetings.join()),
        (anyone, JoinMeetings::Link)
    );
}
