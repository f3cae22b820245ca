// SPDX-License-Identifier: Apache-2.0
use super::*;

fn open(dir: &tempfile::TempDir) -> Filters {
    let config = Config {
        store_path_root_dir: dir.path().to_str().unwrap().into(),
        ..Config::default()
    };
    Filters::open(&config, Env::real()).unwrap()
}

fn wants(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.into(),
        expression_type: SQL92.into(),
        sub_string: expression.into(),
        sub_version: version,
        ..SubscriptionData::default()
    }
}

fn found(filters: &Filters, topic: &str) -> Option<(i64, Str, bool)> {
    let filter = filters.find(topic, "G")?;
    Some((filter.version, filter.expression.clone(), filter.is_dead()))
}

#[test]
fn only_a_newer_version_replaces_an_expression() {
    let dir = tempfile::tempdir().unwrap();
    let (filters, group) = (open(&dir), Str::from("G"));
    let seen = |data: SubscriptionData| {
        filters.register(&group, &[data]);
        found(&filters, "T").map(|(version, expression, _)| (version, expression))
    };
    assert_eq!(seen(wants("T", "a > ", 1)), None);
    assert_eq!(seen(wants("T", "a > 1", 2)), Some((2, "a > 1".into())));
    assert_eq!(seen(wants("T", "a > 2", 2)), Some((2, "a > 1".into())));
    assert_eq!(seen(wants("T", "a > 2", 1)), Some((2, "a > 1".into())));
    assert_eq!(seen(wants("T", "a > 1", 3)), Some((3, "a > 1".into())));
    assert_eq!(seen(wants("T", "", 9)), Some((3, "a > 1".into())));
    assert_eq!(seen(wants("T", "a > 2", 4)), Some((4, "a > 2".into())));
    assert_eq!(seen(wants("T", "a >", 5)), None);
    let other_type = SubscriptionData {
        expression_type: "SQL93".into(),
        ..wants("T", "a > 1", 6)
    };
    assert_eq!(seen(other_type), None);
}

#[test]
fn a_filter_dies_with_its_group_or_its_subscription_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (filters, group) = (open(&dir), Str::from("G"));
    let both = [wants("T", "a > 1", 1), wants("U", "a > 1", 1)];
    let dead = |topic: &str| found(&filters, topic).map(|(_, _, is_dead)| is_dead);
    filters.register(&group, &both);
    assert!(filters.concerns("G", &[]) && !filters.concerns("H", &[]));
    filters.register(&group, &both[..1]);
    assert_eq!((dead("T"), dead("U")), (Some(false), Some(true)));
    filters.register(&group, &both);
    assert_eq!((dead("T"), dead("U")), (Some(false), Some(false)));
    filters.offline("G");
    assert_eq!((dead("T"), dead("U")), (Some(true), Some(true)));
    // The reference takes the version for the expression here.
    filters.register(&group, &[wants("T", "b = 1", 1), wants("U", "a > 1", 2)]);
    assert_eq!(found(&filters, "T"), Some((1, "a > 1".into(), false)));
    assert_eq!(found(&filters, "U"), Some((2, "a > 1".into(), false)));
}

#[test]
fn what_was_dead_for_long_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let filters = open(&dir);
    filters.register(&"G".into(), &[wants("T", "a > 1", 1)]);
    filters.save(0).unwrap();
    assert!(found(&open(&dir), "T").is_some());
    filters.offline("G");
    filters.save(60_000).unwrap();
    assert!(found(&open(&dir), "T").is_some());
    filters.save(0).unwrap();
    assert!(filters.find("T", "G").is_none() && found(&open(&dir), "T").is_none());
}

#[test]
fn all_are_dead_when_the_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let filters = open(&dir);
    filters.register(&"G".into(), &[wants("T", "a > 1", 1)]);
    filters.save(1_000).unwrap();
    assert_eq!(found(&open(&dir), "T"), Some((1, "a > 1".into(), true)));
}

#[test]
fn the_file_is_that_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config/consumerFilter.json");
    // Written by the reference, which puts the bits on one line.
    let text = "{\n\t\"filterDataByTopic\":{\n\t\t\"TopicA\":{\n\t\t\t\"groupFilterData\":{\n\t\t\t\t\"GroupA\":{\n\
        \t\t\t\t\t\"bloomFilterData\":{\n\t\t\t\t\t\t\"bitNum\":112,\n\t\t\t\t\t\t\"bitPos\":[\n\t\t\t\t\t\t\t29,\n\
        \t\t\t\t\t\t\t107,\n\t\t\t\t\t\t\t11\n\t\t\t\t\t\t]\n\t\t\t\t\t},\n\
        \t\t\t\t\t\"bornTime\":1700000000000,\n\t\t\t\t\t\"clientVersion\":7,\n\t\t\t\t\t\"consumerGroup\":\"GroupA\",\n\
        \t\t\t\t\t\"dead\":true,\n\t\t\t\t\t\"deadTime\":1700000000005,\n\
        \t\t\t\t\t\"expression\":\"a > 5 AND b = 'x'\",\n\t\t\t\t\t\"expressionType\":\"SQL92\",\n\
        \t\t\t\t\t\"topic\":\"TopicA\"\n\t\t\t\t}\n\t\t\t},\n\t\t\t\"topic\":\"TopicA\"\n\t\t}\n\t}\n}";
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    Env::real().disk.replace(&path, text.as_bytes()).unwrap();
    let filters = open(&dir);
    assert_eq!(filters.find("TopicA", "GroupA").unwrap().version, 7);
    filters.table.lock().is_changed = true;
    filters.save(u64::MAX).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert!(dir.path().join("config/consumerFilter.json.bak").exists());
}

#[test]
fn the_dead_make_room_and_the_living_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let filters = open(&dir);
    let long = |topic: usize| wants(&topic.to_string(), &format!("a{}", " ".repeat(65_535)), 1);
    let all: Vec<SubscriptionData> = (0..64).map(long).collect();
    filters.register(&"G".into(), &all);
    filters.register(&"H".into(), &[wants("T", "a", 1)]);
    assert!(filters.find("63", "G").is_some() && filters.find("T", "H").is_none());
    filters.register(&"G".into(), &all[1..]);
    filters.register(&"H".into(), &[wants("T", "a", 1)]);
    assert!(filters.find("0", "G").is_none() && filters.find("T", "H").is_some());
}

#[test]
fn a_filter_without_room_leaves_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let filters = open(&dir);
    let long = |topic: usize| wants(&topic.to_string(), &format!("a{}", " ".repeat(65_535)), 1);
    let all: Vec<SubscriptionData> = (0..63).map(long).collect();
    filters.register(&"H".into(), &all);
    let group = Str::from("G");
    filters.register(&group, &[wants("T", "a", 1), wants("U", "a", 1)]);
    let longer = format!("a{}", " ".repeat(65_535));
    filters.register(&group, &[wants("T", &longer, 2), wants("U", "a", 1)]);
    assert_eq!(found(&filters, "T"), Some((1, "a".into(), false)));
    // In its own place there is room.
    filters.register(&group, &[wants("T", &longer[1..].replacen(' ', "b", 1), 3)]);
    assert_eq!(found(&filters, "T").map(|found| found.0), Some(3));
}

#[test]
fn what_was_compiled_late_does_not_replace_what_is_newer() {
    let dir = tempfile::tempdir().unwrap();
    let (filters, group) = (open(&dir), Str::from("G"));
    for (topic, old) in [("T", "a > 1"), ("U", "a >")] {
        let old = wants(topic, old, 1);
        assert!(filters.table.lock().is_news(&group, &old));
        let late = filters.compile(SQL92, &old.sub_string);
        filters.register(&group, &[wants(topic, "a > 2", 2)]);
        filters.keep(&group, &old, late);
        assert_eq!(found(&filters, topic), Some((2, "a > 2".into(), false)));
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let filters = open(&dir);
    for number in 0..1_000 {
        filters.compile(SQL92, &format!("a = {number}")).unwrap();
        let long = format!("a = {number}{}", " ".repeat(60_000));
        filters.compile(SQL92, &long).unwrap();
        let remembered = filters.remembered.lock();
        assert!(remembered.compiled.len() <= REMEMBERED_MAX && remembered.bytes <= REMEMBERED_BYTES_MAX);
    }
    let first = filters.compile(SQL92, "a = 1").unwrap();
    assert!(Arc::ptr_eq(&first, &filters.compile(SQL92, "a = 1").unwrap()));
}
