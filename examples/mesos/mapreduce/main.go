// Command mapreduce counts words in files that lie on some of a cluster's nodes: a Mesos
// framework whose map tasks go to their data by delay scheduling (package delay). It
// prints the most frequent words, and how many tasks had their data on their node.
//
//	mapreduce -master http://HOST:5050 -wait 2s /data/a@node-1,node-2 /data/b@node-3
//
// A file that its task's node lacks is fetched from one that has it, if -copy says how:
// '{file}' and '{host}' stand in it, as in 'scp {host}:{file} /dev/stdout'.
//
// With -jobs it measures instead: so many jobs of -tasks tasks each, which do nothing for
// the time in SIM_RUN_FOR (hollow nodes obey it), on blocks with -copies copies on nodes
// chosen at random. It then prints one JSON line.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"trireme/examples/mesos/framework"
	"trireme/examples/mesos/mapreduce/delay"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mapreduce: ")
	r := &run{fw: &framework.Framework{Name: "mapreduce", Once: true}, counts: map[string]int{}, tasks: map[string]delay.Task{}}
	flag.StringVar(&r.fw.Master, "master", "http://127.0.0.1:5050", "the master's address")
	flag.StringVar(&r.fw.User, "user", "", "the principal, for HTTP basic authentication")
	flag.StringVar(&r.fw.Password, "password", os.Getenv("MESOS_PASSWORD"), "its password")
	flag.StringVar(&r.fw.Role, "role", "*", "whose share of the cluster is used")
	flag.StringVar(&r.fw.RunAs, "run-as", "root", "the user of the nodes that runs the tasks")
	flag.DurationVar(&r.policy.Wait, "wait", 2*time.Second, "how long a job waits for a node that has its data")
	flag.Float64Var(&r.cpus, "cpus", 0.1, "CPUs of a task")
	flag.Float64Var(&r.mem, "mem", 32, "memory of a task, in MB")
	flag.StringVar(&r.copyBy, "copy", "", "the command that writes a file of another node to its output")
	listen := flag.String("listen", "127.0.0.1:0", "where nodes reach this program with what they counted")
	load := load{}
	flag.IntVar(&load.jobs, "jobs", 0, "measure: so many jobs")
	flag.IntVar(&load.tasks, "tasks", 20, "measure: tasks of a job")
	flag.IntVar(&load.copies, "copies", 3, "measure: copies of a block")
	flag.IntVar(&load.nodes, "nodes", 100, "measure: how many nodes are waited for")
	flag.DurationVar(&load.mean, "mean", 20*time.Second, "measure: how long a task takes on average")
	flag.Uint64Var(&load.seed, "seed", 7, "measure: of what is chosen at random")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case load.jobs > 0:
		r.load = &load
		err = r.measure(ctx)
	case flag.NArg() > 0:
		err = r.count(ctx, *listen, flag.Args())
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// count counts the words of the files and prints the ten most frequent.
func (r *run) count(ctx context.Context, listen string, files []string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	r.url = "http://" + l.Addr().String()
	go func() { _ = http.Serve(l, http.HandlerFunc(r.take)) }() // ends with the process
	job := &delay.Job{Name: "words"}
	for i, f := range files {
		file, hosts, ok := strings.Cut(f, "@")
		if !ok || !strings.HasPrefix(file, "/") {
			return fmt.Errorf("%q is not FILE@HOST,HOST with FILE from the root", f)
		}
		t := delay.Task{ID: fmt.Sprintf("map-%d", i), Hosts: strings.Split(hosts, ",")}
		r.files = append(r.files, file)
		job.Pending = append(job.Pending, t)
	}
	r.policy.Add(job)
	if err := r.work(ctx); err != nil {
		return err
	}
	for _, w := range top(r.counts, 10) {
		fmt.Printf("%d %s\n", r.counts[w], w)
	}
	fmt.Printf("%d of %d tasks had their data on their node\n", r.policy.Local, r.policy.Local+r.policy.Others)
	return nil
}

// take takes in what a map task counted: lines of a count and a word. The reduction is
// that they are summed.
func (r *run) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 64<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have[req.URL.Path] {
		return // a task that ran twice counts once
	}
	r.have[req.URL.Path] = true
	for line := range strings.Lines(string(body)) {
		var n int
		var word string
		if _, err := fmt.Sscan(line, &n, &word); err == nil {
			r.counts[word] += n
		}
	}
}

// measure runs the load and prints what came of it.
func (r *run) measure(ctx context.Context) error {
	begin := time.Now()
	if err := r.work(ctx); err != nil {
		return err
	}
	given := r.policy.Local + r.policy.Others
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"locality_pct": 100 * float64(r.policy.Local) / float64(given), "wait_s": r.policy.Wait.Seconds(), "tasks": given,
		"mean_task_s": r.load.mean.Seconds(), "nodes": r.load.nodes, "seconds": time.Since(begin).Seconds(),
	})
}
