// SPDX-License-Identifier: Apache-2.0
package conformance;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * The official Java client against one server: {@code Main NAMESERVER [--suffix S] [scene...]}.
 * Scenes run side by side, each on topics and groups of its own; their lines are printed in the order given.
 */
public final class Main {
    private static final int SCENES_AT_ONCE = 6;

    interface Scene {
        void play(Stage stage) throws Exception;
    }

    private static Map<String, Scene> scenes() {
        Map<String, Scene> scenes = new LinkedHashMap<>();
        scenes.put("send", Sending::send);
        scenes.put("order", Sending::order);
        scenes.put("roundtrip", Sending::roundtrip);
        scenes.put("compress", Sending::compress);
        scenes.put("delay", Delays::delay);
        scenes.put("priority", Delays::priority);
        scenes.put("request", Requests::request);
        scenes.put("trace", Traces::trace);
        scenes.put("errors", Refusals::errors);
        scenes.put("autocreate", Refusals::autocreate);
        scenes.put("timers", Timers::timers);
        scenes.put("pull", Pulling::pull);
        scenes.put("litepull", Pulling::lite);
        scenes.put("offsets", Lookups::offsets);
        scenes.put("query", Lookups::query);
        scenes.put("push", Consuming::concurrently);
        scenes.put("orderly", Consuming::orderly);
        scenes.put("retry", Retries::retry);
        scenes.put("pop", Popping::pop);
        scenes.put("deadletters", Retries::deadLetters);
        scenes.put("retrydelays", Retries::delays);
        scenes.put("tags", Consuming::tags);
        scenes.put("sql", Filters::sql);
        scenes.put("broadcast", Consuming::broadcast);
        scenes.put("rebalance", Groups::rebalance);
        scenes.put("restart", Groups::restart);
        scenes.put("strategies", Members::strategies);
        scenes.put("churn", Members::churn);
        scenes.put("turns", Members::order);
        scenes.put("killed", Members::killed);
        scenes.put("reset", Resets::running);
        scenes.put("batches", Batches::batches);
        scenes.put("compacted", Compacted::compacted);
        scenes.put("screen-cluster", Screens::cluster);
        scenes.put("screen-topic", Screens::topic);
        scenes.put("screen-ops", Screens::ops);
        scenes.put("screen-consumer", GroupScreens::consumer);
        scenes.put("screen-groups", GroupScreens::settings);
        scenes.put("screen-offsets", GroupScreens::offsets);
        scenes.put("screen-producer", GroupScreens::producer);
        scenes.put("screen-message", MessageScreens::message);
        scenes.put("screen-dlq", MessageScreens::deadLetters);
        scenes.put("screen-trace", MessageScreens::trace);
        scenes.put("transaction", Transactions::transactions);
        return scenes;
    }

    /** Scenes for a server that was started in a particular way, so they run only when named. */
    private static Map<String, Scene> special() {
        return Map.of("refused", Refusals::refused);
    }

    public static void main(String[] args) throws Exception {
        List<String> words = new ArrayList<>(List.of(args));
        if (words.isEmpty()) {
            System.err.println("usage: Main NAMESERVER [--suffix S] [scene...] | Main NAMESERVER load|verify|drain|stream|reach ...");
            System.exit(2);
        }
        String nameserver = words.remove(0);
        if (!words.isEmpty() && Load.VERBS.contains(words.get(0))) {
            Load.run(nameserver, words);
            System.exit(0);
        }
        if (!words.isEmpty() && Transactions.VERBS.contains(words.get(0))) {
            Transactions.run(nameserver, words);
        }
        if (!words.isEmpty() && words.get(0).equals(Members.VERB)) {
            Members.run(nameserver, words.subList(1, words.size()));
        }
        if (!words.isEmpty() && words.get(0).equals(Stream.VERB)) {
            Stream.run(nameserver, words.subList(1, words.size()));
        }
        if (!words.isEmpty() && words.get(0).equals("reach")) {
            System.exit(Groups.reach(nameserver, words.subList(1, words.size())) ? 0 : 1);
        }
        String suffix = "";
        if (words.size() >= 2 && words.get(0).equals("--suffix")) {
            suffix = words.get(1);
            words = words.subList(2, words.size());
        }
        System.exit(run(nameserver, suffix, words) == 0 ? 0 : 1);
    }

    private static int run(String nameserver, String suffix, List<String> names) throws Exception {
        Map<String, Scene> known = new LinkedHashMap<>(scenes());
        List<String> chosen = names.isEmpty() ? new ArrayList<>(known.keySet()) : names;
        known.putAll(special());
        ExecutorService pool = Executors.newFixedThreadPool(SCENES_AT_ONCE);
        Map<String, Future<Played>> running = new LinkedHashMap<>();
        for (String name : chosen) {
            Scene scene = known.get(name);
            if (scene == null) {
                throw new IllegalArgumentException("no scene named " + name);
            }
            running.put(name, pool.submit(() -> play(scene, new Stage(nameserver, suffix))));
        }
        int failed = 0;
        for (Map.Entry<String, Future<Played>> entry : running.entrySet()) {
            Played played = entry.getValue().get();
            failed += played.passed ? 0 : 1;
            played.lines.forEach(line -> System.out.println(entry.getKey() + ": " + line));
            System.err.printf("%s took %d ms%n", entry.getKey(), played.tookMs);
        }
        System.out.printf("java: %d passed, %d failed%n", chosen.size() - failed, failed);
        return failed;
    }

    private record Played(List<String> lines, boolean passed, long tookMs) {
    }

    private static Played play(Scene scene, Stage stage) {
        long began = System.currentTimeMillis();
        boolean passed = true;
        try (stage) {
            scene.play(stage);
            stage.say("ok");
        } catch (Throwable failure) {
            passed = false;
            stage.say("FAILED: %s", failure);
            failure.printStackTrace();
        }
        return new Played(stage.lines(), passed, System.currentTimeMillis() - began);
    }
}
