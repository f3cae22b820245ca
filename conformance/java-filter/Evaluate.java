// SPDX-License-Identifier: Apache-2.0
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;

/**
 * What the reference makes of SQL expressions. The file holds one thing per line, in hexadecimal digits: `P` and the
 * properties of a message as they are stored, `E` and an expression. For each expression, in order, a line goes out: `-`
 * when it does not compile, otherwise a letter per message: T(rue), F(alse), N(either), X (it fails).
 */
public final class Evaluate {
    private record Message(Map<String, String> properties) implements EvaluationContext {
        @Override
        public Object get(String name) {
            return properties.get(name);
        }

        @Override
        public Map<String, Object> keyValues() {
            throw new UnsupportedOperationException();
        }
    }

    public static void main(String[] args) throws Exception {
        List<Message> messages = new ArrayList<>();
        StringBuilder out = new StringBuilder();
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            String text = new String(HexFormat.of().parseHex(line.substring(2)), StandardCharsets.UTF_8);
            if (line.startsWith("P")) {
                messages.add(new Message(MessageDecoder.string2messageProperties(text)));
            } else {
                out.append(answer(text, messages)).append('\n');
            }
        }
        Files.writeString(Path.of(args[1]), out);
    }

    private static String answer(String text, List<Message> messages) {
        Expression expression;
        try {
            expression = FilterFactory.INSTANCE.get("SQL92").compile(text);
        } catch (Throwable error) {
            return "-";
        }
        StringBuilder letters = new StringBuilder();
        for (Message message : messages) {
            letters.append(letter(expression, message));
        }
        return letters.toString();
    }

    private static char letter(Expression expression, Message message) {
        try {
            Object result = expression.evaluate(message);
            return result == null ? 'N' : (Boolean) result ? 'T' : 'F';
        } catch (Throwable error) {
            return 'X';
        }
    }
}
