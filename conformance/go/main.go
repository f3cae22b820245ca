// SPDX-License-Identifier: Apache-2.0

// The official Go client against one server: go [-suffix S] NAMESERVER [scene...].
// Scenes run one after the other (clients of one process disturb each other when they close) on topics and groups of
// their own; their lines carry no ids, times or ports, so that two servers can be compared line by line.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

type scene struct {
	name string
	play func(*stage)
}

var scenes = []scene{
	{"send", send},
	{"order", order},
	{"autocreate", autocreate},
	{"delay", delay},
	{"errors", refusals},
	{"roundtrip", roundtrip},
	{"push", push},
	{"orderly", orderly},
	{"tags", tags},
	{"rebalance", rebalance},
	{"circle", circle},
	{"turns", turns},
	{"restart", restart},
	{"broadcast", broadcast},
	{"retry", retry},
	{"transaction", transaction},
}

type outcome struct {
	lines  []string
	failed bool
	took   time.Duration
}

// quiet drops the client's own log: it goes to stdout, where our lines are.
type quiet struct{}

func (quiet) Debug(string, map[string]interface{})   {}
func (quiet) Info(string, map[string]interface{})    {}
func (quiet) Warning(string, map[string]interface{}) {}
func (quiet) Error(string, map[string]interface{})   {}
func (quiet) Fatal(string, map[string]interface{})   {}
func (quiet) Level(string)                           {}
func (quiet) OutputPath(string) error                { return nil }

func main() {
	suffix := flag.String("suffix", "", "ends the names of topics and groups, for another pass over one server")
	flag.Parse()
	if flag.NArg() < 1 {
		fmt.Fprintln(os.Stderr, "usage: go [-suffix S] NAMESERVER [scene...]")
		os.Exit(2)
	}
	rlog.SetLogger(quiet{})
	chosen := choose(flag.Args()[1:])
	failed := 0
	for _, s := range chosen {
		done := run(s, flag.Arg(0), *suffix)
		for _, line := range done.lines {
			fmt.Printf("%s: %s\n", s.name, line)
		}
		if done.failed {
			failed++
		}
		fmt.Fprintf(os.Stderr, "%s took %d ms\n", s.name, done.took.Milliseconds())
	}
	fmt.Printf("go: %d passed, %d failed\n", len(chosen)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func choose(names []string) []scene {
	if len(names) == 0 {
		return scenes
	}
	var chosen []scene
	for _, name := range names {
		for _, s := range scenes {
			if s.name == name {
				chosen = append(chosen, s)
			}
		}
	}
	return chosen
}

func run(s scene, nameserver, suffix string) (done outcome) {
	began := time.Now()
	st := &stage{nameserver: nameserver, name: s.name + suffix}
	defer func() {
		if failure := recover(); failure != nil {
			st.say("FAILED: %v", failure)
			done.failed = true
		}
		st.close()
		done.lines, done.took = st.lines, time.Since(began)
	}()
	s.play(st)
	st.say("ok")
	return
}
