package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Request is one line of requests.jsonl: something that a server of the internet was asked, or a connection to it
// that ended without asking anything.
type Request struct {
	Time time.Time `json:"time"`
	// Server is the name that the server has here: git, model, allowed, denied.
	Server string `json:"server"`
	// Host is what the client called it: the Host header, or the address for a connection without a request.
	Host string `json:"host"`
	// Method is the HTTP method; CONNECTION for a connection that ended without a request.
	Method string `json:"method"`
	Path   string `json:"path"`
	Peer   string `json:"peer"`
	// Bytes counts the request's body: what left the client.
	Bytes int64 `json:"bytes"`
	// Status is the answer's; 0 where there was none.
	Status int `json:"status"`
}

// Arrival is one line of sink.jsonl: something that reached an address which nothing here serves.
type Arrival struct {
	Time time.Time `json:"time"`
	// Protocol is tcp, udp or icmp.
	Protocol string `json:"protocol"`
	// Event is connect or data for TCP, datagram otherwise. Bytes over all lines add up to what arrived.
	Event       string `json:"event"`
	Destination string `json:"destination"`
	Peer        string `json:"peer"`
	// Bytes is the payload's length; a TCP connection that brings none still has its line.
	Bytes int `json:"bytes"`
}

// Record is a file of JSON lines. A line is written in one call, so that a reader never sees half of one that is
// followed by another.
type Record struct {
	mutex sync.Mutex
	out   io.Writer
}

// OpenRecord opens a record for appending.
func OpenRecord(path string) (*Record, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Record{out: file}, nil
}

// Write appends one line. That it could not is said on standard error and nowhere else: the program serves on, and
// the test that reads the record finds nothing, which fails it.
func (r *Record) Write(line any) {
	data, err := json.Marshal(line)
	if err != nil {
		fmt.Fprintln(os.Stderr, "internet: record:", err)
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if _, err := r.out.Write(append(data, '\n')); err != nil {
		fmt.Fprintln(os.Stderr, "internet: record:", err)
	}
}
