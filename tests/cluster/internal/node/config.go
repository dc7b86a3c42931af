// Package node knows the components of the one-node cluster: their configuration files, identities and command lines.
package node

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/pki"
)

//go:embed templates
var templates embed.FS

// parsed holds all templates; a name that a template uses and its data lacks is an error.
var parsed = template.Must(template.New("").Option("missingkey=error").ParseFS(templates, "templates/*"))

// configFiles maps each configuration file, below the state directory, to its template.
var configFiles = map[string]string{
	"config/containerd.toml":    "containerd.toml",
	"config/runsc.toml":         "runsc.toml",
	"config/kubelet.yaml":       "kubelet.yaml",
	"config/kube-proxy.yaml":    "kube-proxy.yaml",
	"config/audit.yaml":         "audit.yaml",
	"cni/10-cofferdam.conflist": "cni.conflist",
}

// Identities of the components that speak to the API server; each has a kubeconfig config/<file>.kubeconfig.
var clients = []pki.Subject{
	{File: "admin", User: "cofferdam-test-admin", Groups: []string{"system:masters"}},
	{File: "kube-controller-manager", User: "system:kube-controller-manager"},
	{File: "kube-scheduler", User: "system:kube-scheduler"},
	{File: "kube-proxy", User: "system:kube-proxy"},
	{File: "enforcer", User: "cofferdam-test-enforcer"},
	{
		File: "kubelet", User: "system:node:" + layout.NodeName, Groups: []string{"system:nodes"},
		Names: []string{layout.NodeName}, Addresses: []string{layout.NodeIP},
	},
}

// servers are the identities that only listen, and the one with which the API server calls the kubelet.
var servers = []pki.Subject{
	{
		File: "kube-apiserver", User: "kube-apiserver",
		Names: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost",
		},
		Addresses: []string{"127.0.0.1", layout.APIServiceIP, layout.NodeIP},
	},
	{File: "front-proxy", User: frontProxy},
	{File: "kube-apiserver-kubelet-client", User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
}

// Configure writes certificates and configuration files of a new cluster.
func Configure(place layout.Layout) error {
	authority, err := pki.NewAuthority(place.Path("pki"))
	if err != nil {
		return err
	}
	for _, subject := range append(append([]pki.Subject{}, clients...), servers...) {
		if err := authority.Issue(subject); err != nil {
			return err
		}
	}
	if err := pki.ServiceAccountKey(place.Path("pki"), "service-account"); err != nil {
		return err
	}
	files, err := RenderAll(place)
	if err != nil {
		return err
	}
	for file, content := range files {
		if err := write(place.Path(file), content, 0o644); err != nil {
			return err
		}
	}
	for _, subject := range clients {
		if err := writeKubeconfig(place, subject, layout.APIAddress, Kubeconfig(place, subject.File)); err != nil {
			return err
		}
	}
	return writeKubeconfig(place, clients[0], layout.ForwardAddress, place.Kubeconfig())
}

// AddClient gives one more component, of a cluster that runs, its certificate and kubeconfig.
func AddClient(place layout.Layout, subject pki.Subject) error {
	authority, err := pki.OpenAuthority(place.Path("pki"))
	if err != nil {
		return err
	}
	if err := authority.Issue(subject); err != nil {
		return err
	}
	return writeKubeconfig(place, subject, layout.APIAddress, Kubeconfig(place, subject.File))
}

// RenderAll gives the content of every configuration file by its path below the state directory. Certificates are
// not among them: they differ from cluster to cluster.
func RenderAll(place layout.Layout) (map[string][]byte, error) {
	data := map[string]string{
		"State": place.State, "PauseImage": layout.PauseImage, "DNSServiceIP": layout.DNSServiceIP,
		"PodCIDR": layout.PodCIDR, "NodePodCIDR": layout.NodePodCIDR, "NodeName": layout.NodeName, "CgroupName": layout.CgroupName,
	}
	files := map[string][]byte{}
	for file, name := range configFiles {
		content, err := execute(name, data)
		if err != nil {
			return nil, err
		}
		files[file] = content
	}
	return files, nil
}

func execute(name string, data map[string]string) ([]byte, error) {
	var buffer bytes.Buffer
	if err := parsed.ExecuteTemplate(&buffer, name, data); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return buffer.Bytes(), nil
}

func writeKubeconfig(place layout.Layout, subject pki.Subject, server, path string) error {
	data := map[string]string{"Server": server, "User": subject.File}
	for key, file := range map[string]string{"Authority": "ca.crt", "Certificate": subject.File + ".crt", "Key": subject.File + ".key"} {
		content, err := os.ReadFile(place.Path("pki", file))
		if err != nil {
			return err
		}
		data[key] = base64.StdEncoding.EncodeToString(content)
	}
	content, err := execute("kubeconfig.yaml", data)
	if err != nil {
		return err
	}
	return write(path, content, 0o600)
}

func write(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}
