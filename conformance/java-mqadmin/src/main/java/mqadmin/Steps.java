// SPDX-License-Identifier: Apache-2.0
package mqadmin;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.io.ByteArrayOutputStream;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Permission;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs command lines as if each had a JVM of its own, which takes a second less. A line of the file is a step:
 * {@code {"args":[..],"until":"text","lines":3,"seconds":10}}. With {@code until} the command is repeated until it
 * prints that, with {@code lines} it is interrupted when it has printed so many. The results have a line for each step.
 */
final class Steps extends MQAdminStartup {
    private static final long LOOK_AGAIN_MS = 10;
    private static final long GIVE_UP_MS = 5_000;

    private Steps() {
    }

    /** What {@code System.exit} becomes: an error, because commands catch exceptions. */
    private static final class Exit extends Error {
        private final int status;

        Exit(int status) {
            super("exit " + status, null, false, false);
            this.status = status;
        }
    }

    /** The only way to survive a {@code System.exit}; deprecated, but there from Java 17 to 23. */
    @SuppressWarnings("removal")
    private static final class NoExit extends SecurityManager {
        @Override
        public void checkExit(int status) {
            throw new Exit(status);
        }

        @Override
        public void checkPermission(Permission permission) {
            // everything else is allowed
        }
    }

    private static final class Played {
        private final ByteArrayOutputStream out = new ByteArrayOutputStream();
        private final ByteArrayOutputStream err = new ByteArrayOutputStream();
        private volatile int status;
        private volatile boolean isOver;
    }

    @SuppressWarnings("removal")
    static void run(String file, String results) throws Exception {
        System.setSecurityManager(new NoExit());
        PrintStream console = System.out;
        // The first command is slow and may print what libraries say when they wake up.
        play(JSON.parseObject("{\"args\":[\"help\",\"topicList\"],\"seconds\":60}"));
        try (OutputStream told = new FileOutputStream(results)) {
            for (String line : Files.readAllLines(Path.of(file))) {
                JSONObject step = JSON.parseObject(line);
                long began = System.currentTimeMillis();
                JSONObject result = step.containsKey("until") ? await(step) : play(step);
                result.put("ms", System.currentTimeMillis() - began);
                told.write((result.toJSONString() + "\n").getBytes(StandardCharsets.UTF_8));
                told.flush();
            }
        }
        console.println("done");
        System.setSecurityManager(null);
        Runtime.getRuntime().halt(0); // whatever threads the commands left behind
    }

    private static JSONObject await(JSONObject step) throws Exception {
        long deadline = System.currentTimeMillis() + step.getLongValue("seconds") * 1000;
        while (true) {
            JSONObject result = play(step);
            if (result.getString("out").contains(step.getString("until")) || System.currentTimeMillis() > deadline) {
                return result;
            }
            Thread.sleep(LOOK_AGAIN_MS);
        }
    }

    private static JSONObject play(JSONObject step) throws Exception {
        SUB_COMMANDS.clear(); // each call adds all of them again
        System.clearProperty(MixAll.NAMESRV_ADDR_PROPERTY);
        String[] args = step.getJSONArray("args").toArray(String.class);
        Played played = new Played();
        System.setOut(new PrintStream(played.out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(played.err, true, StandardCharsets.UTF_8));
        ThreadGroup group = new ThreadGroup("step");
        Thread thread = new Thread(group, () -> {
            try {
                main0(args, null);
            } catch (Exit exit) {
                played.status = exit.status;
            } catch (Throwable escaped) {
                // As the default handler of a main thread says it.
                System.err.print("Exception in thread \"main\" ");
                escaped.printStackTrace();
                played.status = 1;
            }
            played.isOver = true;
        }, "main");
        thread.start();
        int lines = step.getIntValue("lines", Integer.MAX_VALUE);
        long deadline = System.currentTimeMillis() + step.getLongValue("seconds") * 1000;
        while (!played.isOver && System.currentTimeMillis() < deadline && lines(played) < lines) {
            thread.join(LOOK_AGAIN_MS);
            hurry(thread, group);
        }
        boolean isStopped = !played.isOver;
        String out = played.out.toString(StandardCharsets.UTF_8);
        String err = played.err.toString(StandardCharsets.UTF_8);
        long giveUp = System.currentTimeMillis() + GIVE_UP_MS;
        while (isStopped && !played.isOver && System.currentTimeMillis() < giveUp) {
            thread.interrupt(); // again and again: some catch it and go on
            thread.join(LOOK_AGAIN_MS);
            hurry(thread, group);
        }
        JSONObject result = new JSONObject();
        result.put("out", isStopped ? out : played.out.toString(StandardCharsets.UTF_8));
        result.put("err", isStopped ? err : played.err.toString(StandardCharsets.UTF_8));
        result.put("status", played.status);
        result.put("stopped", isStopped);
        return result;
    }

    /** A client that shuts down waits for a thread that looks every three seconds whether it should end: we wake it. */
    private static void hurry(Thread thread, ThreadGroup group) {
        for (StackTraceElement frame : thread.getStackTrace()) {
            if (frame.getClassName().equals("org.apache.rocketmq.common.ServiceThread") && frame.getMethodName().equals("shutdown")) {
                Thread[] all = new Thread[group.activeCount() + 8];
                int count = group.enumerate(all);
                for (int i = 0; i < count; i++) {
                    if (all[i].getName().equals("NettyEventExecutor")) {
                        all[i].interrupt();
                    }
                }
                return;
            }
        }
    }

    private static int lines(Played played) {
        return (int) played.out.toString(StandardCharsets.UTF_8).chars().filter(c -> c == '\n').count();
    }
}
