package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"

	"trireme/examples/mesos/framework"
)

// job is one run of an MPI program.
type job struct {
	fw             *framework.Framework
	ranks, perNode int
	cpus, mem      float64 // of a rank
	program        []string
	net            string
	started        bool

	mu    sync.Mutex
	slots []slot
	ends  map[string]chan framework.Status // of tasks that run, by id
}

// slot is a part of a node that is held for some ranks.
type slot struct {
	offer framework.Offer
	ranks int
}

// host returns how mpirun is told of the node: by its address, which nobody has to resolve.
func (s *slot) host() string { return cmp.Or(s.offer.URL.Address.IP, s.offer.Hostname) }

// take holds the offers that ranks are still to be found a place in, and gives the others
// back.
func (j *job) take(ctx context.Context, offers []framework.Offer) error {
	for _, o := range offers {
		n := 0
		if left := j.ranks - j.held(); left > 0 && !j.has(o.Hostname) {
			if n = min(left, o.Fits(j.cpus, j.mem)); j.perNode > 0 {
				n = min(n, j.perNode)
			}
		}
		if n == 0 {
			if err := j.fw.Launch(ctx, o.ID, nil, 5); err != nil {
				return err
			}
			continue
		}
		j.mu.Lock()
		j.slots = append(j.slots, slot{o, n})
		j.mu.Unlock()
	}
	return nil
}

func (j *job) held() (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.slots {
		n += s.ranks
	}
	return n
}

func (j *job) has(host string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.slots {
		if s.offer.Hostname == host {
			return true
		}
	}
	return false
}

func (j *job) enough() bool { return j.held() >= j.ranks }

// hosts returns the nodes as mpirun takes them: HOST:SLOTS.
func (j *job) hosts() (all []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.slots {
		all = append(all, fmt.Sprintf("%s:%d", s.host(), s.ranks))
	}
	return all
}

// update takes in what became of an offer or a daemon.
func (j *job) update(e *framework.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e.Type {
	case "RESCIND":
		for i, s := range j.slots {
			if s.offer.ID == e.Rescind.OfferID && !j.started {
				j.slots = append(j.slots[:i], j.slots[i+1:]...)
				break
			}
		}
	case "UPDATE":
		s := e.Update.Status
		if end := j.ends[s.TaskID.Value]; end != nil && s.Ended() {
			delete(j.ends, s.TaskID.Value)
			end <- s
		}
	}
}

// launch runs the command on the slot of the host and waits for its end.
func (j *job) launch(ctx context.Context, host, command string) error {
	j.mu.Lock()
	var at *slot
	for i := range j.slots {
		if j.slots[i].host() == host {
			at = &j.slots[i]
		}
	}
	if at == nil {
		j.mu.Unlock()
		return fmt.Errorf("no slot is held on %s", host)
	}
	id := framework.Value{Value: "mpi-" + at.offer.ID.Value}
	end := make(chan framework.Status, 1)
	if j.ends == nil {
		j.ends = map[string]chan framework.Status{}
	}
	j.ends[id.Value] = end
	// Daemons keep their files in a folder that they know by their process id, which may
	// be the same on two nodes.
	command = "dir=$(mktemp -d) && export TMPDIR=$dir || exit; (" + command + "); status=$?; rm -rf $dir; exit $status"
	task := framework.Task{
		Name: "orted on " + host, TaskID: id, AgentID: at.offer.AgentID, Command: framework.Command{Value: command},
		Resources: []framework.Resource{framework.Scalar("cpus", j.cpus*float64(at.ranks)), framework.Scalar("mem", j.mem*float64(at.ranks))},
	}
	offer := at.offer.ID
	j.mu.Unlock()
	if err := j.fw.Launch(ctx, offer, []framework.Task{task}, 0); err != nil {
		return err
	}
	select {
	case s := <-end:
		if s.State != "TASK_FINISHED" {
			return fmt.Errorf("the daemon on %s: %s: %s", host, s.State, s.Message)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// order is what the process in ssh's place asks of the framework.
type order struct{ Host, Command string }

// listen takes orders on a socket.
func (j *job) listen(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go j.serve(c)
		}
	}()
	return nil
}

// serve answers one order: nothing where the daemon has ended well, else the reason.
func (j *job) serve(c net.Conn) {
	defer c.Close()
	var o order
	err := json.NewDecoder(c).Decode(&o)
	if err == nil {
		err = j.launch(context.Background(), o.Host, o.Command)
	}
	if err != nil {
		_, _ = io.WriteString(c, err.Error()) // mpirun may be gone
	}
}

// remote is what mpirun starts in ssh's place, with a host and a command: it asks the
// framework, waits until the daemon ends, and returns the exit status.
func remote(socket string, args []string) int {
	err := func() error {
		if len(args) < 2 {
			return errors.New("mpirun gave no host and command")
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := json.NewEncoder(c).Encode(order{args[0], strings.Join(args[1:], " ")}); err != nil {
			return err
		}
		said, err := io.ReadAll(c)
		if err == nil && len(said) > 0 {
			err = errors.New(string(said))
		}
		return err
	}()
	if err != nil {
		log.Print(err)
		return 1
	}
	return 0
}
