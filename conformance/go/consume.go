// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func push(s *stage) {
	p := s.producer()
	s.fill(p, 0, 50)
	var all seen
	s.push(s.group(), "*", all.add)
	s.await("the first 50", func() bool { return all.distinct() == 50 })
	s.fill(p, 50, 50)
	s.await("the next 50", func() bool { return all.distinct() == 100 })
	s.say("consumed %d of 100", all.distinct())
}

func orderly(s *stage) {
	p := s.producer()
	s.fill(p, 0, 80)
	var lock sync.Mutex
	total, putOff := 0, false
	taken := map[int][]string{}
	s.push(s.group(), "*", func(m *primitive.MessageExt) consumer.ConsumeResult {
		lock.Lock()
		defer lock.Unlock()
		if string(m.Body) == "body 21" && !putOff {
			putOff = true
			return consumer.SuspendCurrentQueueAMoment
		}
		total++
		taken[m.Queue.QueueId] = append(taken[m.Queue.QueueId], string(m.Body)[5:])
		return consumer.ConsumeSuccess
	}, consumer.WithConsumerOrder(true))
	s.await("80 messages in order", func() bool {
		lock.Lock()
		defer lock.Unlock()
		return total >= 80
	})
	lock.Lock()
	defer lock.Unlock()
	for queue := 0; queue < 4; queue++ {
		s.say("queue %d: %v", queue, taken[queue])
	}
}

func tags(s *stage) {
	p := s.producer()
	// Letters and digits only: this client hashes the UTF-8 bytes of a tag, where servers hash its UTF-16 units.
	names := []string{"A", "B", "Aa", "BB"} // "Aa" and "BB" have one hash: the client must tell them apart
	for i := 0; i < 20; i++ {
		tag := names[i%len(names)]
		sendOne(s, p, s.message(i%4, tag, "k", fmt.Sprintf("%s-%d", tag, i/len(names))))
	}
	for i, filter := range []struct {
		expression string
		count      int
	}{{"A", 4}, {"A || B", 8}, {"Aa", 4}} {
		var some seen
		s.push(fmt.Sprint(s.group(), i), filter.expression, some.add)
		s.await(filter.expression, func() bool { return some.distinct() >= filter.count })
		s.say("%s: %v", filter.expression, some.bodies())
	}
}

func rebalance(s *stage) {
	p := s.producer()
	s.fill(p, 0, 20)
	var first, second seen
	together := func() int { return first.distinct() + second.distinct() }
	s.push(s.group(), "*", first.add)
	s.await("20 messages", func() bool { return first.distinct() == 20 })
	leaving := s.push(s.group(), "*", second.add)
	sent := 20
	s.await("both members get messages", func() bool {
		s.fill(p, sent, 4)
		sent += 4
		return second.distinct() > 0
	})
	s.await("everything sent", func() bool { return together() >= sent })
	s.require(leaving.Shutdown())
	s.fill(p, sent, 20)
	sent += 20
	s.await("everything sent after one left", func() bool {
		bodies := map[string]bool{}
		for _, body := range append(first.bodies(), second.bodies()...) {
			bodies[body] = true
		}
		return len(bodies) == sent
	})
	s.say("both members worked, nothing was lost")
}

func restart(s *stage) {
	p := s.producer()
	s.fill(p, 0, 40)
	var before, after seen
	first := s.push(s.group(), "*", before.add)
	s.await("the first 40", func() bool { return before.distinct() == 40 })
	s.require(first.Shutdown())
	s.fill(p, 40, 20)
	s.push(s.group(), "*", after.add)
	s.await("the 20 sent meanwhile", func() bool { return after.has(40, 20) })
	s.fill(p, 60, 4)
	s.await("and 4 more", func() bool { return after.has(60, 4) })
	// What was consumed last may come again: the client's last commit races with its end.
	s.say("before %d, after all that was sent since, from the beginning %t", before.distinct(), after.has(0, 40))
}
