// Participants on LiveKit's Go SDK, driven by JSON lines: one command a line in, one answer a line out.
//
// Commands: {"id": 1, "do": "join", "who": "ada", ...}; answers: {"id": 1, "ok": ...} or {"id": 1, "error": "..."}.
// One program may be many people. What each receives is counted: packets, whole frames, key frames.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

type command struct {
	ID       int      `json:"id"`
	Do       string   `json:"do"`
	Who      string   `json:"who"`
	URL      string   `json:"url"`
	Token    string   `json:"token"`
	Single   bool     `json:"single"`
	What     []string `json:"what"`
	Sid      string   `json:"sid"`
	Text     string   `json:"text"`
	Reliable bool     `json:"reliable"`
	Quiet    bool     `json:"quiet"`
}

type answer struct {
	ID    int    `json:"id"`
	OK    any    `json:"ok"`
	Error string `json:"error,omitempty"`
}

var verbs = map[string]func(*person, command) (any, error){
	"join":      (*person).join,
	"publish":   (*person).publish,
	"unpublish": (*person).unpublish,
	"counts":    (*person).counts,
	"send":      (*person).send,
	"got":       (*person).got,
	"happened":  (*person).happened,
	"people":    (*person).people,
	"simulate":  (*person).simulate,
	"leave":     (*person).leave,
	"dispatch":  (*person).dispatch,
}

func main() {
	media := flag.String("media", "media", "folder of the pictures")
	tone := flag.String("tone", "", "the sound, as client/fixtures/README.md describes it")
	debug := flag.Bool("debug", false, "the SDK's log on standard error")
	flag.Parse()
	if *debug {
		logger.InitFromConfig(&logger.Config{Level: "debug"}, "participant")
		lksdk.SetLogger(logger.GetLogger())
	} else {
		lksdk.SetLogger(logger.GetDiscardLogger())
	}
	if err := load(*media, *tone); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	people := map[string]*person{}
	var printing sync.Mutex
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var given command
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		who := people[given.Who]
		if who == nil {
			who = newPerson()
			people[given.Who] = who
		}
		// Answers come in the order of commands for each person only: many can join at once.
		before := who.busy
		done := make(chan struct{})
		who.busy = done
		go func() {
			defer close(done)
			if before != nil {
				<-before
			}
			reply := answer{ID: given.ID}
			verb, known := verbs[given.Do]
			err := errors.New("no such command: " + given.Do)
			if known {
				reply.OK, err = verb(who, given)
			}
			if err != nil {
				reply.Error = err.Error()
			}
			text, _ := json.Marshal(reply)
			printing.Lock()
			fmt.Println(string(text))
			printing.Unlock()
		}()
	}
	for _, who := range people {
		if who.busy != nil {
			<-who.busy
		}
		_, _ = who.leave(command{})
	}
}
