// SPDX-License-Identifier: Apache-2.0
package mqadmin;

/**
 * The official {@code mqadmin}, and what it is asked about:
 * {@code Main state NAMESERVER BROKER FACTS} prepares a server and stays there with its clients,
 * {@code Main steps FILE RESULTS} runs command lines, one after the other.
 */
public final class Main {
    private Main() {
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 4 && args[0].equals("state")) {
            State.prepare(args[1], args[2], args[3]);
        } else if (args.length == 3 && args[0].equals("steps")) {
            Steps.run(args[1], args[2]);
        } else {
            System.err.println("usage: Main state NAMESERVER BROKER FACTS | Main steps FILE RESULTS");
            System.exit(2);
        }
    }
}
