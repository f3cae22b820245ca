// SPDX-License-Identifier: Apache-2.0
//! Messages: finding, printing, tracing and sending them.

use crate::mqadmin::step::{Step, step};

pub(super) fn reading() -> Vec<Step> {
    [
        by_id(),
        by_key(),
        by_unique_key(),
        by_offset(),
        traces(),
        printing(),
        by_queue(),
        entries(),
        consuming(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn by_id() -> Vec<Step> {
    vec![
        step("queryMsgById -t T_normal -i $offsetid.n0"),
        step("queryMsgById -t T_normal -i $offsetid.n1,$offsetid.n2"),
        step("queryMsgById -t T_live -i $offsetid.l0 -f UTF-8"),
        step("queryMsgById -t T_normal -i $id.n3"),
        step("queryMsgById -t T_normal -i $offsetid.n4 -c DefaultCluster"),
        step("queryMsgById -t T_quiet -i $offsetid.n0"),
        step("queryMsgById -t T_normal -i $offsetid.n0 -f NOSUCH"),
        step("queryMsgById -t T_normal -i nonsense"),
        step("queryMsgById -t T_normal -i 7F00000100002A9F0000000000000000"),
        step("queryMsgById -t T_unknown -i $id.n3"),
        step("queryMsgById -t T_live -i $offsetid.l0 -g CG_live -d $client.live")
            .number_after("spentTimeMills="),
        step("queryMsgById -t T_live -i $offsetid.l0,$offsetid.l2 -g CG_orderly -d $client.orderly")
            .number_after("spentTimeMills="),
        step("queryMsgById -t T_live -i $offsetid.l0 -g CG_live -d nobody"),
        step("queryMsgById -t T_live -i $offsetid.l0 -g CG_unknown -d nobody"),
        step("queryMsgById -t T_live -i $offsetid.l0 -s false"),
    ]
}

fn by_key() -> Vec<Step> {
    vec![
        step("queryMsgByKey -t T_normal -k n0"),
        step("queryMsgByKey -t T_normal -k n0 -m 1"),
        step("queryMsgByKey -t T_normal -k n0 -b 0 -e $between"),
        step("queryMsgByKey -t T_normal -k n0 -b 0 -e 1"),
        step("queryMsgByKey -t T_normal -k n0 -c DefaultCluster"),
        step("queryMsgByKey -t T_normal -k n0 -p K"),
        step("queryMsgByKey -t T_normal -k Tag0 -p T"),
        step("queryMsgByKey -t T_normal -k n0 -p X"),
        step("queryMsgByKey -t T_normal -k n0 -l nosuch"),
        step("queryMsgByKey -t T_normal -k nosuch"),
        step("queryMsgByKey -t T_unknown -k n0"),
        step("queryMsgByKey -t T_normal -k n0 -m x"),
        step("queryMsgByKey -t T_normal -k n0 -b x"),
    ]
}

fn by_unique_key() -> Vec<Step> {
    vec![
        step("queryMsgByUniqueKey -t T_normal -i $id.n0"),
        step("queryMsgByUniqueKey -t T_normal -i $id.n0 -a"),
        step("queryMsgByUniqueKey -t T_normal -i $id.n0 -c DefaultCluster"),
        step("queryMsgByUniqueKey -t T_normal -i $id.n0 -s 0 -e $end"),
        step("queryMsgByUniqueKey -t T_normal -i $id.n0 -s 0 -e 1"),
        step("queryMsgByUniqueKey -t %DLQ%CG_dead -i $id.x0"),
        step("queryMsgByUniqueKey -t T_normal -i $id.l0"),
        step("queryMsgByUniqueKey -t T_normal -i nosuch"),
        step("queryMsgByUniqueKey -t T_unknown -i $id.n0"),
        step("queryMsgByUniqueKey -t T_live -i $id.l0 -g CG_live -d $client.live")
            .number_after("spentTimeMills="),
        step("queryMsgByUniqueKey -t T_live -i $id.l0 -g CG_live -d nobody"),
    ]
}

fn by_offset() -> Vec<Step> {
    vec![
        step("queryMsgByOffset -t T_normal -b broker-a -i 0 -o 1"),
        step("queryMsgByOffset -t T_many -b broker-a -i 39 -o 0 -f UTF-8"),
        step("queryMsgByOffset -t %DLQ%CG_dead -b broker-a -i 0 -o 0"),
        step("queryMsgByOffset -t T_normal -b broker-a -i 0 -o 99"),
        step("queryMsgByOffset -t T_normal -b broker-a -i 99 -o 0"),
        step("queryMsgByOffset -t T_normal -b nosuch -i 0 -o 0"),
        step("queryMsgByOffset -t T_unknown -b broker-a -i 0 -o 0"),
        step("queryMsgByOffset -t T_normal -b broker-a -i x -o 0"),
        step("queryMsgByOffset -t T_normal -b broker-a -i 0 -o x"),
        step("queryMsgByOffset -t T_normal -b broker-a -i 0 -o 0 -f NOSUCH"),
    ]
}

fn traces() -> Vec<Step> {
    vec![
        step("queryMsgTraceById -i $id.t0").columns(6, &[4]),
        step("QueryMsgTraceById -i $id.t0 -t RMQ_SYS_TRACE_TOPIC -c 10").columns(6, &[4]),
        step("queryMsgTraceById -i $id.t0 -b 0 -e 1"),
        step("queryMsgTraceById -i $id.n0"),
        step("queryMsgTraceById -i $id.t0 -t T_normal"),
        step("queryMsgTraceById -i $id.t0 -t T_unknown"),
        step("queryMsgTraceById -i $id.t0 -c x"),
    ]
}

fn printing() -> Vec<Step> {
    vec![
        step("printMsg -t T_normal"),
        step("printMsg -t T_normal -d false"),
        step("printMsg -t T_normal -s Tag1"),
        step("printMsg -t T_normal -s 'Tag1 || Tag2' -c UTF-8"),
        step("printMsg -t T_normal -s TagNone"),
        step("printMsg -t T_normal -c NOSUCH").our_tool(
            "an unknown encoding is a mistake",
            "'NOSUCH' is no encoding of text",
        ),
        step("printMsg -t T_normal -b 0 -e $end"),
        step("printMsg -t T_normal -b $end"),
        step("printMsg -t T_normal -b 2001-02-03#04:05:06:789 -e 2001-02-03#04:05:06:789"),
        step("printMsg -t T_normal -b nonsense"),
        step("printMsg -t T_quiet"),
        step("printMsg -t T_quiet -l T_normal")
            .sorted("queues are in a hash set, by the hash of the other topic"),
        step("printMsg -t T_unknown"),
        step("printMsg -t T_unknown -l T_quiet").our_tool(
            "the broker is found, and there is nothing",
            "minOffset=0, maxOffset=0, MessageQueue [topic=T_unknown,",
        ),
        step("printMsg -t %DLQ%CG_dead"),
    ]
}

fn by_queue() -> Vec<Step> {
    vec![
        step("printMsgByQueue -t T_normal -a broker-a -i 0"),
        step("printMsgByQueue -t T_normal -a broker-a -i 0 -p true"),
        step("printMsgByQueue -t T_normal -a broker-a -i 0 -p true -d true"),
        step("printMsgByQueue -t T_normal -a broker-a -i 1 -f true")
            .sorted("tags seen equally often are in a hash map"),
        step("printMsgByQueue -t T_normal -a broker-a -i 1 -p true -s Tag1 -c UTF-8"),
        step("printMsgByQueue -t T_normal -a broker-a -i 1 -p true -b 0 -e $end"),
        step("printMsgByQueue -t T_normal -a broker-a -i 1 -p true -b $end"),
        step("printMsgByQueue -t T_normal -a broker-a -i 99 -p true"),
        step("printMsgByQueue -t T_normal -a broker-a -i x"),
        step("printMsgByQueue -t T_normal -a nosuch -i 0"),
        step("printMsgByQueue -t T_unknown -a broker-a -i 0"),
        step("printMsgByQueue -t T_normal -a broker-a -i 0 -b nonsense"),
    ]
}

fn entries() -> Vec<Step> {
    vec![
        step("queryCq -t T_normal -q 0 -i 0"),
        step("queryCq -t T_normal -q 0 -i 1 -c 1"),
        step("queryCq -t T_normal -q 0 -i 0 -b $broker"),
        step("queryCq -t T_live -q 0 -i 0 -g CG_live"),
        step("queryCq -t T_live -q 0 -i 0 -g CG_unknown"),
        step("queryCq -t T_normal -q 0 -i 99"),
        step("queryCq -t T_normal -q 99 -i 0").ours(
            "the queue is named; the reference answers without a body, which its tool cannot take",
            "99@T_normal is not exist!",
        ),
        step("queryCq -t T_unknown -q 0 -i 0"),
        step("queryCq -t T_unknown -q 0 -i 0 -b $broker"),
        step("queryCq -t T_normal -q x -i 0"),
        step("queryCq -t T_normal -q 0 -i 0 -b 127.0.0.1:1"),
    ]
}

fn consuming() -> Vec<Step> {
    vec![
        step("consumeMessage -t T_normal"),
        step("consumeMessage -t T_normal -c 2"),
        step("consumeMessage -t T_normal -b broker-a -i 0"),
        step("consumeMessage -t T_normal -b broker-a -i 0 -o 1"),
        step("consumeMessage -t T_normal -b broker-a -i 0 -o 99"),
        step("consumeMessage -t T_normal -b broker-a -i 0 -c 1"),
        step("consumeMessage -t T_normal -b broker-a -i 0 -g G_consuming"),
        step("consumeMessage -t T_normal -b broker-a -i 0 -s 0 -e $end"),
        step("consumeMessage -t T_normal -b broker-a -i 0 -s $end -e 1"),
        step("consumeMessage -t T_normal -s 9999999999999"),
        step("consumeMessage -t T_normal -e 9999999999999"),
        step("consumeMessage -t T_normal -i 0"),
        step("consumeMessage -t T_normal -o 0"),
        step("consumeMessage -t T_normal -c 0"),
        step("consumeMessage -t T_normal -c x"),
        step("consumeMessage -t T_normal -b nosuch -i 0"),
        step("consumeMessage -t T_normal -b broker-a -i 99"),
        step("consumeMessage -t T_unknown"),
        step("consumeMessage -t T_quiet"),
    ]
}

pub(super) fn changing() -> Vec<Step> {
    [sending(), again()].into_iter().flatten().collect()
}

fn sending() -> Vec<Step> {
    vec![
        step("sendMessage -t T_sent -p 'a body'"),
        step("sendMessage -t T_sent -p body -k key -c tag"),
        step("sendMessage -t T_sent -p body -b broker-a -i 0"),
        step("sendMessage -t T_sent -p body -b broker-a"),
        step("sendMessage -t T_sent -p body -m true"),
        step("sendMessage -t T_sent -p body -b broker-a -i 99").remark("it says how many queues there are"),
        step("sendMessage -t T_sent -p body -b nosuch -i 0"),
        step("sendMessage -t T_sent -p body -i 0"),
        step("sendMessage -t T_sent -p body -b broker-a -i x"),
        step("sendMessage -t T_sent -p ''"),
        step("sendMessage -t 'T sent' -p body"),
        step("sendMessage -t T_made_by_sending -p body -b broker-a -i 0"),
        step("topicStatus -t T_sent").number_after("Topic Put TPS: "),
        step("queryMsgByKey -t T_sent -k key")
            .until("T_sent")
            .number_after("@<id>@")
            .columns(4, &[0]),
        step("sendMsgStatus -b DefaultCluster_broker-a -c 2 -s 16").number_after("rt="),
        step("sendMsgStatus -b DefaultCluster_broker-a -c 0"),
        step("sendMsgStatus -b DefaultCluster_broker-a -c x"),
        step("checkMsgSendRT -t T_sent -a 3 -s 16")
            .columns(4, &[3])
            .number_after("Avg RT: "),
        step("checkMsgSendRT -t T_many -a 2")
            .columns(4, &[3])
            .number_after("Avg RT: "),
        step("checkMsgSendRT -t T_sent -a x"),
        step("clusterRT -a 2 -s 16 -i 1")
            .columns(5, &[2])
            .stopped_after(3),
        step("clusterRT -a 2 -c DefaultCluster -p true -m room")
            .number_after("|DefaultCluster|broker-a|")
            .stopped_after(1),
        step("clusterRT -a 2 -c NoCluster").stopped_after(2).seconds(2),
        step("clusterRT -a x"),
    ]
}

/// Messages that are sent again by their id.
fn again() -> Vec<Step> {
    vec![
        step("queryMsgById -t T_delay -i $offsetid.d0 -s true"),
        step("queryMsgById -t T_traced -i $offsetid.t0 -s true"),
        step("queryMsgById -t T_traced -i $offsetid.t0 -s true -u unit"),
        step("queryMsgById -t T_traced -i nonsense -s true"),
        step("queryMsgById -t T_traced -i $offsetid.t0"),
    ]
}
