// Program prog is all that the test image holds: it acts as its first argument
// says. Under the name of a CNI plugin it wires nothing and gives a fixed
// address.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if os.Getenv("CNI_COMMAND") != "" {
		cni()
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "prog: no word given")
		os.Exit(2)
	}
	switch args := os.Args[2:]; os.Args[1] {
	case "serve": // until it is asked to end
		wait := make(chan os.Signal, 1)
		signal.Notify(wait, syscall.SIGTERM, syscall.SIGINT)
		sayReady()
		fmt.Println("serving", strings.Join(args, " "))
		<-wait
		fmt.Println("ending")
	case "stubborn": // until it is killed
		deaf := make(chan os.Signal, 1)
		signal.Notify(deaf, syscall.SIGTERM)
		sayReady()
		fmt.Println("ignoring SIGTERM")
		for range deaf {
		}
	case "flood": // lines, until it is killed
		for {
			if _, err := fmt.Println("more and more"); err != nil {
				os.Exit(3)
			}
		}
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			code = 2
		}
		os.Exit(code)
	case "print":
		fmt.Println(strings.Join(args, " "))
	case "await": // until the container's first process listens for SIGTERM
		for !isReady() {
			time.Sleep(time.Millisecond)
		}
	case "cat":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "eat": // memory, until it is killed
		for held := [][]byte{}; ; {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			held = append(held, b)
		}
	case "facts":
		facts()
	}
}

// ready is the name a process gives itself once it listens for SIGTERM. Before
// that the kernel drops the signal: it is the first of its process space.
const ready = "ready"

func sayReady() { _ = os.WriteFile("/proc/self/comm", []byte(ready), 0) }

func isReady() bool {
	name, err := os.ReadFile("/proc/1/comm")
	return err == nil && strings.TrimSpace(string(name)) == ready
}

// facts prints what the container gave the program, one fact a line.
func facts() {
	groups, _ := os.Getgroups()
	host, _ := os.Hostname()
	dir, _ := os.Getwd()
	fmt.Println("uid", os.Getuid(), "gid", os.Getgid(), "groups", groups)
	fmt.Println("hostname", host)
	fmt.Println("dir", dir)
	fmt.Println("env", os.Getenv("FACT"))
	if err := os.WriteFile("/written", nil, 0o600); err != nil {
		fmt.Println("root", "readonly")
	} else {
		fmt.Println("root", "writable")
	}
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		for _, want := range []string{"CapEff:", "NoNewPrivs:", "Seccomp:"} {
			if strings.HasPrefix(line, want) {
				fmt.Println(strings.Join(strings.Fields(line), " "))
			}
		}
	}
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	fmt.Println(strings.ReplaceAll(strings.TrimSpace(string(resolv)), "\n", "; "))
}

func cni() {
	switch os.Getenv("CNI_COMMAND") {
	case "VERSION":
		fmt.Println(`{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}`)
	case "ADD":
		_, _ = io.Copy(io.Discard, os.Stdin)
		fmt.Printf(`{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":%q}],`+
			`"ips":[{"interface":0,"address":"192.0.2.7/32"}]}`, os.Getenv("CNI_NETNS"))
	}
}
