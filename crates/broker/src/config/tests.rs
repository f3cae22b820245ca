// SPDX-License-Identifier: Apache-2.0

use super::*;

fn load(text: &str) -> (Config, Vec<Warning>) {
    Config::load(text, "broker.conf").unwrap()
}

fn error(text: &str) -> String {
    Config::load(text, "broker.conf").unwrap_err().to_string()
}

#[test]
fn a_file_of_the_reference_is_taken_as_it_is() {
    let (config, warnings) = load(
        "# the file every tutorial starts with
brokerClusterName = DefaultCluster
brokerName=broker-a
brokerId: 0
deleteWhen 04
fileReservedTime=48
brokerRole=ASYNC_MASTER
flushDiskType=SYNC_FLUSH
namesrvAddr=10.0.0.1:9876;ns.example.org:9876
",
    );
    assert_eq!(config.broker_name, "broker-a");
    assert_eq!(config.file_reserved_time, 48);
    assert_eq!(config.flush_disk_type, FlushDiskType::Sync);
    assert_eq!(
        config.name_servers().unwrap(),
        ["10.0.0.1:9876", "ns.example.org:9876"]
    );
    assert_eq!(warnings, []);
}

#[test]
fn settings_without_a_meaning_are_named_in_one_warning_and_unknown_ones_in_their_own() {
    let (_, warnings) =
        load("sendMessageThreadPoolNums=4\nbrokerNmae=x\nuseReentrantLockWhenPutMessage=true\n");
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "settings without a meaning here: sendMessageThreadPoolNums, useReentrantLockWhenPutMessage",
            "broker.conf:2: unknown setting brokerNmae",
        ]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_that_says_where_it_is_and_what_was_expected() {
    assert_eq!(
        error("\nlistenPort=many"),
        "broker.conf:2: listenPort: expected an integer from 0 to 65535, found \"many\""
    );
    assert!(error("autoCreateTopicEnable=yes").contains("expected true or false"));
    assert!(error("flushDiskType=FAST").contains("expected ASYNC_FLUSH or SYNC_FLUSH"));
    assert!(error("sendMessageThreadPoolNums=x").contains("expected an integer"));
    assert!(error("diskMaxUsedSpaceRatio=101").contains("expected a percentage"));
    assert!(error("deleteWhen=25").contains("hours of the day"));
    assert!(error("namesrvAddr=host").contains("host:port"));
    assert!(error("brokerIP1=two words").contains("the name of a host"));
    assert!(error("messageDelayLevel=1x").contains("unit s, m, h or d"));
    assert!(error("brokerRole=MASTER").contains("SYNC_MASTER or SLAVE"));
    assert!(error("haMasterAddress=host").contains("host:port"));
    let secret = error("haSecret=tooshort");
    assert!(
        secret.contains("at least 16 characters") && !secret.contains("tooshort"),
        "{secret}"
    );
    assert!(error("haSlavesMax=65").contains("1 to 64"));
    assert!(error("brokerPermission=7").contains("2 (write), 4 (read) or 6 (both)"));
    assert_eq!(
        error("a=1\nb=\\u12"),
        "broker.conf: line 2: \\u must be followed by four hexadecimal digits"
    );
}

#[test]
fn what_the_broker_cannot_keep_is_refused() {
    for text in [
        "enableControllerMode=true",
        "enableDLegerCommitLog=true",
        "storeType=defaultRocksDB",
        "aclEnable=true",
        "authenticationEnabled=true",
        "authorizationEnabled=true",
        "tls.server.mode=enforcing",
        "duplicationEnable=true",
    ] {
        assert!(error(text).contains("not supported"), "{text}: {}", error(text));
    }
}

#[test]
fn a_refusable_setting_that_asks_for_nothing_is_no_reason_to_warn() {
    let (_, warnings) =
        load("aclEnable=false\nstoreType=default\ntls.server.mode=permissive\ninSyncReplicas=1\n");
    assert_eq!(warnings, []);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let (mut config, _) = load("listenPort=1000\n");
    assert_eq!(config.set("listenPort", "2000"), Ok(None));
    assert_eq!(config.listen_port, 2000);
    assert!(
        config
            .set("listenPort", "x")
            .unwrap_err()
            .to_string()
            .starts_with("command line: listenPort")
    );
    assert!(matches!(
        config.set("nonsense", "1"),
        Ok(Some(Warning::Unknown { .. }))
    ));
}

#[test]
fn what_nobody_set_comes_from_the_host() {
    let found = Surroundings {
        name_servers: Some("10.0.0.9:9876".into()),
        home: Some("/home/rocket".into()),
        host_name: Some("machine".into()),
        address: Some([10, 0, 0, 7].into()),
        ..Surroundings::default()
    };
    let mut config = Config::default();
    config.complete(&found).unwrap();
    assert_eq!(config.broker_name, "machine");
    assert_eq!(config.broker_ip1, "10.0.0.7");
    assert_eq!(config.broker_ip2, "10.0.0.7");
    assert_eq!(config.store_path_root_dir, "/home/rocket/store");
    assert_eq!(config.namesrv_addr, "10.0.0.9:9876");

    let (mut config, _) =
        load("brokerName=b\nnamesrvAddr=a:1\nbrokerIP1=127.0.0.1\nstorePathRootDir=/data\n");
    config.complete(&found).unwrap();
    assert_eq!(
        (config.broker_name.as_str(), config.namesrv_addr.as_str()),
        ("b", "a:1")
    );
    assert_eq!(config.store().root, std::path::Path::new("/data"));
}

#[test]
fn a_broker_without_a_name_or_a_directory_does_not_start() {
    let mut config = Config::default();
    let refusal = config.complete(&Surroundings::default()).unwrap_err().to_string();
    assert_eq!(refusal, "brokerName: is not set and cannot be guessed");
    config.store_path_root_dir = "/data".into();
    for name in ["has blanks", "a/b", &"x".repeat(128)] {
        config.broker_name = name.into();
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("not a valid name")
        );
    }
    config.broker_name = "host.example.org".into();
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn delay_levels_are_read_with_their_units() {
    let config = Config {
        message_delay_level: "1s 2m 3h 4d".into(),
        ..Config::default()
    };
    assert_eq!(
        config.delay_levels_ms().unwrap(),
        [1_000, 120_000, 10_800_000, 345_600_000]
    );
    assert_eq!(Config::default().delay_levels_ms().unwrap().len(), 18);
}

#[test]
fn every_key_stands_in_one_list() {
    let honoured: Vec<&str> = settings::SETTINGS.iter().map(|setting| setting.key).collect();
    for (key, _) in known::KNOWN {
        assert!(!honoured.contains(key), "{key} is honoured");
    }
    for refused in refused::REFUSED {
        let is_known = known::KNOWN.iter().any(|(key, _)| *key == refused.key);
        assert!(
            is_known || honoured.contains(&refused.key),
            "{} is in no list",
            refused.key
        );
    }
    let mut sorted = honoured.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), honoured.len());
}

#[test]
fn the_settings_in_effect_read_back_as_the_same_settings() {
    let text = java_properties::write(
        Config::default()
            .all()
            .iter()
            .map(|(key, value)| (*key, value.as_str())),
    );
    let (config, warnings) = load(&text);
    assert_eq!(warnings, []);
    assert_eq!(config.all(), Config::default().all());
}

#[test]
fn the_reference_page_has_a_line_for_every_setting() {
    let page = config_reference();
    for setting in settings::SETTINGS {
        assert!(
            page.contains(&format!("| `{}` | {} |", setting.key, setting.kind)),
            "{}",
            setting.key
        );
    }
    assert!(page.contains("| `duplicationEnable` | `true` |"));
    assert!(page.contains("`sendMessageThreadPoolNums`"));
}

#[test]
fn a_file_that_is_not_utf_8_is_latin_1_and_stays_so() {
    assert_eq!(text_of("# ü".into()), "# ü");
    assert_eq!(text_of(b"# \xfc".to_vec()), "# ü");
    assert_eq!(bytes_of("# ü", true), "# ü".as_bytes());
    assert_eq!(bytes_of("# ü €", false), b"# \xfc \\u20ac");
}

/// Keys whose value is a text that names no place, host, code or secret.
const PLAIN_TEXTS: [&str; 24] = [
    "bottomMostCompressionTypeForConsumeQueueStore",
    "brokerClusterName",
    "brokerName",
    "clusterName",
    "combineAssignOffsetCQType",
    "combineCQLoadingCQTypes",
    "combineCQPreferCQType",
    "configManagerVersion",
    "configName",
    "dLegerGroup",
    "dLegerSelfId",
    "deleteWhen",
    "logLevel",
    "messageDelayLevel",
    "metricsLabel",
    "msgTraceTopicName",
    "preferredLeaderId",
    "regionId",
    "rocksdbCompressionType",
    "storeType",
    "timerCheckMetricsWhen",
    "brokerRole",
    "flushDiskType",
    "metricsExporterType",
];

#[test]
fn whatever_names_a_place_a_host_code_or_a_secret_is_changed_by_no_request() {
    let honoured = settings::SETTINGS.iter().map(|setting| {
        let is_number = ["integer", "boolean", "PULL, POP", "files, compact"]
            .iter()
            .any(|kind| setting.kind.starts_with(kind));
        (setting.key, is_number)
    });
    let others = known::KNOWN.iter().map(|(key, kind)| {
        let is_number = [known::Kind::Bool, known::Kind::Int, known::Kind::Decimal].contains(kind);
        (*key, is_number)
    });
    let mut fixed = 0;
    for (key, is_number) in honoured.chain(others) {
        let is_plain = PLAIN_TEXTS.contains(&key);
        assert!(
            is_number || is_plain || is_fixed(key),
            "{key} is a text: either no request changes it, or it is named above"
        );
        assert!(!(is_plain && is_fixed(key)), "{key} is fixed, and named above");
        fixed += usize::from(is_fixed(key));
    }
    assert!(fixed > 35, "{fixed}");
    assert!(
        is_fixed("haAllowUnproven"),
        "it says whether a secret is asked for"
    );
    assert!(!is_fixed("traceOn") && !is_fixed("listenPort") && !is_fixed("nonsense"));
    assert!(is_secret("haSecret") && is_secret("tls.server.keyPassword") && !is_secret("traceOn"));
}

#[test]
fn no_key_that_speaks_of_a_place_a_host_or_a_secret_is_taken_for_a_number() {
    let words = [
        "path",
        "rootdir",
        "home",
        "config.file",
        "plugin",
        "blacklist",
        "whitelist",
        "command",
        "secret",
        "password",
        "credential",
        "header",
        "target",
        "namesrvaddr",
        "address",
        "brokerip",
        "exporterhost",
    ];
    let keys = settings::SETTINGS.iter().map(|setting| setting.key);
    let keys = keys.chain(known::KNOWN.iter().map(|(key, _)| *key));
    // How often name servers are asked for, and whether: no place.
    let numbers = [
        "fetchNamesrvAddrInterval",
        "fetchNamesrvAddrByAddressServer",
        "fetchNameSrvAddrByDnsLookup",
        "updateNameServerAddrPeriod",
    ];
    let speaks = |key: &&str| words.iter().any(|word| key.to_ascii_lowercase().contains(word));
    for key in keys.filter(speaks).filter(|key| !numbers.contains(key)) {
        assert!(is_fixed(key), "{key}");
    }
}
