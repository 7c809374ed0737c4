// Command mpi runs an MPI program on the nodes of a cluster: a Mesos framework that takes
// offers until it has as many slots as the program has ranks, has mpirun's daemons
// started as its tasks, prints what the program prints, and goes.
//
//	mpi -master http://HOST:5050 -np 4 -per-node 2 /usr/local/bin/pi
//
// It needs Open MPI (mpirun here, orted on the nodes: Debian's openmpi-bin) and the
// program at the same place everywhere, as MPI programs are run on any cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	"trireme/examples/mesos/framework"
)

// socketEnv tells the process which mpirun starts, in place of ssh, where the framework
// listens.
const socketEnv = "MPI_FRAMEWORK_SOCKET"

func main() {
	log.SetFlags(0)
	log.SetPrefix("mpi: ")
	if socket := os.Getenv(socketEnv); socket != "" {
		os.Exit(remote(socket, os.Args[1:]))
	}
	job := job{fw: &framework.Framework{Name: "mpi", Once: true}}
	flag.StringVar(&job.fw.Master, "master", "http://127.0.0.1:5050", "the master's address")
	flag.StringVar(&job.fw.User, "user", "", "the principal, for HTTP basic authentication")
	flag.StringVar(&job.fw.Password, "password", os.Getenv("MESOS_PASSWORD"), "its password")
	flag.StringVar(&job.fw.Role, "role", "*", "whose share of the cluster is used")
	flag.StringVar(&job.fw.RunAs, "run-as", "root", "the user of the nodes that runs the program")
	flag.IntVar(&job.ranks, "np", 2, "how many ranks the program has")
	flag.IntVar(&job.perNode, "per-node", 0, "how many of them a node takes at most; 0: as many as fit")
	flag.StringVar(&job.net, "net", "", "the network, as 10.0.0.0/8, on which ranks speak to each other; empty: Open MPI tries all of a node's")
	flag.Float64Var(&job.cpus, "cpus", 0.1, "CPUs of a rank")
	flag.Float64Var(&job.mem, "mem", 64, "memory of a rank, in MB")
	flag.Parse()
	if job.program = flag.Args(); len(job.program) == 0 || job.ranks < 1 || job.cpus <= 0 || job.mem <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := job.run(ctx); err != nil {
		log.Fatal(err)
	}
}

// run takes offers, runs mpirun, and returns how it ended.
func (j *job) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "mpi-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "agent")
	if err := j.listen(socket); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = j.fw.Subscribe(ctx, func(e *framework.Event) error {
		if e.Type == "OFFERS" {
			if err := j.take(ctx, e.Offers.Offers); err != nil {
				return err
			}
			if j.enough() && !j.started {
				j.started = true
				go func() { cancel(done{j.mpirun(ctx, socket)}) }()
			}
		}
		j.update(e)
		return nil
	})
	var end done
	if errors.As(context.Cause(ctx), &end) {
		err = end.err
	}
	return err
}

// done is how mpirun ended.
type done struct{ err error }

func (d done) Error() string { return fmt.Sprint("mpirun has ended: ", d.err) }

// mpirun runs the program on the slots. It asks this program, as it would ask ssh, to
// start a daemon on each node.
func (j *job) mpirun(ctx context.Context, socket string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-np", strconv.Itoa(j.ranks), "--host", strings.Join(j.hosts(), ","), "--mca", "plm_rsh_agent", self, "--mca", "plm_rsh_no_tree_spawn", "1"}
	if j.net != "" {
		args = append(args, "--mca", "oob_tcp_if_include", j.net, "--mca", "btl_tcp_if_include", j.net)
	}
	// A daemon that went to the background would end its task.
	args = append(args, "--leave-session-attached")
	// Ranks that wait for others leave the CPU to them: they may have less than one.
	args = append(args, "--mca", "mpi_yield_when_idle", "1")
	if os.Getuid() == 0 {
		args = append(args, "--allow-run-as-root")
	}
	cmd := exec.CommandContext(ctx, "mpirun", append(args, j.program...)...)
	cmd.Env = append(os.Environ(), socketEnv+"="+socket)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	log.Printf("%d ranks on %s", j.ranks, strings.Join(j.hosts(), " "))
	return cmd.Run()
}
