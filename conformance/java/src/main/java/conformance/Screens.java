// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.TopicStatsTable;
import org.apache.rocketmq.remoting.protocol.body.ClusterInfo;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What the dashboard's screens about clusters, topics and name servers call, in the way they call it. */
final class Screens {
    private static final long PATIENCE_MS = 15_000;

    private Screens() {
    }

    /** The address of the broker, as every screen finds it. */
    static String broker(DefaultMQAdminExt admin) throws Exception {
        return admin.examineBrokerClusterInfo().getBrokerAddrTable().get(Stage.BROKER).selectBrokerAddr();
    }

    /** What a call is refused with. */
    static String refusal(Callable<?> call) throws Exception {
        try {
            return "answered " + call.call();
        } catch (MQClientException refused) {
            return "code " + refused.getResponseCode();
        } catch (MQBrokerException refused) {
            return "code " + refused.getResponseCode();
        }
    }

    static void cluster(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        ClusterInfo info = admin.examineBrokerClusterInfo();
        s.say("clusters %s", new TreeMap<>(info.getClusterAddrTable()));
        BrokerData data = info.getBrokerAddrTable().get(Stage.BROKER);
        s.say("%s of %s, ids %s, acting masters %s", data.getBrokerName(), data.getCluster(), data.getBrokerAddrs().keySet(), data.isEnableActingMaster());
        String broker = broker(admin);
        Map<String, String> table = admin.fetchBrokerRuntimeStats(broker).getTable();
        s.say("version %s %s, active %s", table.get("brokerVersionDesc"), table.get("brokerVersion"), table.get("brokerActive"));
        for (String key : new String[] {"putTps", "getTransferredTps", "getTotalTps", "getFoundTps", "getMissTps"}) {
            s.say("%s has %d numbers", key, numbers(table.get(key)));
        }
        for (String day : new String[] {"YesterdayMorning", "TodayMorning", "TodayNow"}) {
            s.require(Long.parseLong(table.get("msgPutTotal" + day)) >= 0, "msgPutTotal%s", day);
            s.require(Long.parseLong(table.get("msgGetTotal" + day)) >= 0, "msgGetTotal%s", day);
        }
        s.require(Double.parseDouble(table.get("commitLogDiskRatio")) >= 0, "commitLogDiskRatio");
        s.require(Long.parseLong(table.get("bootTimestamp")) > 0, "bootTimestamp");
        s.say("disk: %s", table.get("commitLogDirCapacity").replaceAll("[0-9.]+ [KMGT]iB", "<size>"));
        Properties config = admin.getBrokerConfig(broker);
        for (String key : new String[] {"brokerName", "brokerClusterName", "brokerId", "brokerRole", "flushDiskType", "autoCreateTopicEnable", "maxMessageSize"}) {
            s.say("%s=%s", key, config.getProperty(key));
        }
        s.say("replicas: master %s, %d slaves", admin.getBrokerHAStatus(broker).isMaster(), admin.getBrokerHAStatus(broker).getHaConnectionInfo().size());
    }

    private static int numbers(String text) {
        int count = 0;
        for (String word : text.trim().split(" ")) {
            Double.parseDouble(word);
            count++;
        }
        return count;
    }

    static void topic(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        String broker = broker(admin);
        String topic = s.name("Screen");
        TopicConfig config = new TopicConfig(topic, 3, 2);
        config.setAttributes(Map.of("+message.type", "FIFO"));
        admin.createAndUpdateTopicConfig(broker, config);
        s.await("the topic in the list", () -> admin.fetchAllTopicList().getTopicList().contains(topic));
        s.say("one of the cluster's: %s", admin.fetchTopicsByCLuster("DefaultCluster").getTopicList().contains(topic));
        s.say("clusters %s %s", admin.getTopicClusterList(topic), admin.getClusterList(topic));
        told(s, admin.examineTopicConfig(broker, topic));
        told(s, admin.getAllTopicConfig(broker, PATIENCE_MS).getTopicConfigTable().get(topic));
        told(s, admin.getUserTopicConfig(broker, false, PATIENCE_MS).getTopicConfigTable().get(topic));
        TopicRouteData route = admin.examineTopicRouteInfo(topic);
        for (QueueData queues : route.getQueueDatas()) {
            s.say("route: %s read %d write %d perm %d flag %d, order %s", queues.getBrokerName(), queues.getReadQueueNums(), queues.getWriteQueueNums(),
                queues.getPerm(), queues.getTopicSysFlag(), route.getOrderTopicConf());
        }

        DefaultMQProducer producer = s.producer("PG_screen");
        for (int i = 0; i < 4; i++) {
            producer.send(s.message("Screen", "A", "k" + i, "body " + i), s.queue("Screen", i % 2));
        }
        s.await("the messages in the queues", () -> total(admin.examineTopicStats(topic)) == 4);
        new TreeMap<>(admin.examineTopicStats(topic).getOffsetTable()).forEach((queue, offset) ->
            s.say("queue %d from %d to %d, of a time %s", queue.getQueueId(), offset.getMinOffset(), offset.getMaxOffset(), offset.getLastUpdateTimestamp() > 0));
        MessageQueue first = s.queue("Screen", 0);
        s.say("offsets %d to %d, at the beginning of time %d", admin.minOffset(first), admin.maxOffset(first), admin.searchOffset(broker, topic, 0, 0, PATIENCE_MS));
        s.say("an oldest message: %s", admin.earliestMsgStoreTime(first) > 0);
        s.say("read by %s", admin.queryTopicConsumeByWho(topic).getGroupList());

        config.setPerm(4);
        config.setAttributes(Map.of());
        admin.createAndUpdateTopicConfig(broker, config);
        s.await("the permission in the route", () -> admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getPerm() == 4);
        told(s, admin.examineTopicConfig(broker, topic));
        config.setAttributes(Map.of("+message.type", "NONSENSE"));
        s.say("a type that does not exist: %s", refusal(() -> {
            admin.createAndUpdateTopicConfig(broker, config);
            return null;
        }));
        admin.deleteTopicInBroker(Set.of(broker), topic);
        admin.deleteTopicInNameServer(Set.copyOf(admin.getNameServerAddressList()), "DefaultCluster", topic);
        s.say("deleted: listed %s; route %s, status %s, settings %s", admin.fetchAllTopicList().getTopicList().contains(topic),
            refusal(() -> admin.examineTopicRouteInfo(topic)), refusal(() -> admin.examineTopicStats(broker, topic)),
            refusal(() -> admin.examineTopicConfig(broker, topic)));
    }

    private static long total(TopicStatsTable table) {
        return table.getOffsetTable().values().stream().mapToLong(offset -> offset.getMaxOffset() - offset.getMinOffset()).sum();
    }

    private static void told(Stage s, TopicConfig config) {
        s.say("settings: %s", config);
    }

    static void ops(Stage s) throws Exception {
        DefaultMQAdminExt admin = s.admin();
        List<String> names = admin.getNameServerAddressList();
        s.say("%d name server", names.size());
        Properties config = admin.getNameServerConfig(names).get(names.get(0));
        s.say("its settings: listenPort %s, enableTopicList %s, enableAllTopicList %s", config.getProperty("listenPort") != null,
            config.getProperty("enableTopicList"), config.getProperty("enableAllTopicList"));
        String namespace = s.name("NS_ops");
        admin.createAndUpdateKvConfig(namespace, "a", "1");
        admin.putKVConfig(namespace, "b", "2");
        s.say("values: %s, %s", admin.getKVConfig(namespace, "a"), new TreeMap<>(admin.getKVListByNamespace(namespace).getTable()));
        admin.deleteKvConfig(namespace, "a");
        s.say("deleted: %s; of no namespace: %s", refusal(() -> admin.getKVConfig(namespace, "a")),
            refusal(() -> admin.getKVListByNamespace(s.name("NS_none"))));
        String topic = s.name("Ordered");
        admin.createOrUpdateOrderConf(topic, Stage.BROKER + ":4", true);
        admin.createOrUpdateOrderConf(topic, "broker-b:2", false);
        s.say("order: %s", Stage.sorted(List.of(admin.getKVConfig("ORDER_TOPIC_CONFIG", topic).split(";"))));
        String broker = broker(admin);
        s.say("cleaned: %s", admin.cleanUnusedTopicByAddr(broker));
        s.say("a setting that is a path: %s", refusal(() -> {
            Properties path = new Properties();
            path.setProperty("brokerConfigPath", "/tmp/x");
            admin.updateBrokerConfig(broker, path);
            return null;
        }));
    }
}
