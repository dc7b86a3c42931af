package node

import "cofferdam.dev/tests/cluster/internal/layout"

// Process is one program of the cluster and how it is run.
type Process struct {
	Name    string
	Command []string
	// Network is the name of the namespace it runs in.
	Network string
}

const (
	etcdAddress = "http://127.0.0.1:2379"
	// frontProxy is the only name whose certificate lets its bearer say who somebody else is.
	frontProxy = "cofferdam-test-front-proxy"
)

// Etcd keeps the cluster's data. It need not survive a power cut, so it does not wait for the disk.
func Etcd(l layout.Layout) Process {
	return kube(l, "etcd",
		"--data-dir="+l.Path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcdAddress, "--advertise-client-urls="+etcdAddress,
		"--listen-peer-urls=http://127.0.0.1:2380",
	)
}

// APIServer has the default admission plugins and NodeRestriction, and the issuer that kubeadm gives.
func APIServer(l layout.Layout) Process {
	return kube(l, "kube-apiserver",
		"--etcd-servers="+etcdAddress, "--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address="+layout.NodeIP,
		"--tls-cert-file="+l.Path("pki/kube-apiserver.crt"), "--tls-private-key-file="+l.Path("pki/kube-apiserver.key"),
		"--client-ca-file="+l.Path("pki/ca.crt"),
		"--kubelet-client-certificate="+l.Path("pki/kube-apiserver-kubelet-client.crt"),
		"--kubelet-client-key="+l.Path("pki/kube-apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+l.Path("pki/ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+l.Path("pki/service-account.pub"),
		"--service-account-signing-key-file="+l.Path("pki/service-account.key"),
		"--service-cluster-ip-range="+layout.ServiceCIDR,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--requestheader-client-ca-file="+l.Path("pki/ca.crt"), "--requestheader-allowed-names="+frontProxy,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+l.Path("pki/front-proxy.crt"), "--proxy-client-key-file="+l.Path("pki/front-proxy.key"),
		"--audit-policy-file="+l.Path("config/audit.yaml"), "--audit-log-path="+l.Path("logs/audit.jsonl"),
		"--audit-log-maxsize=100", "--audit-log-maxbackup=2",
	)
}

// ControllerManager runs alone, so it does not elect a leader.
func ControllerManager(l layout.Layout) Process {
	config := Kubeconfig(l, "kube-controller-manager")
	return kube(l, "kube-controller-manager",
		"--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config,
		"--service-account-private-key-file="+l.Path("pki/service-account.key"), "--root-ca-file="+l.Path("pki/ca.crt"),
		"--cluster-signing-cert-file="+l.Path("pki/ca.crt"), "--cluster-signing-key-file="+l.Path("pki/ca.key"),
		"--use-service-account-credentials=true", "--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=500",
		"--allocate-node-cidrs=true", "--cluster-cidr="+layout.PodCIDR, "--service-cluster-ip-range="+layout.ServiceCIDR,
	)
}

// Scheduler runs alone, too.
func Scheduler(l layout.Layout) Process {
	config := Kubeconfig(l, "kube-scheduler")
	return kube(l, "kube-scheduler",
		"--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config,
		"--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=500",
	)
}

// Kubelet runs the pods.
func Kubelet(l layout.Layout) Process {
	return kube(l, "kubelet",
		"--config="+l.Path("config/kubelet.yaml"), "--kubeconfig="+Kubeconfig(l, "kubelet"),
		"--root-dir="+l.Path("kubelet"), "--hostname-override="+layout.NodeName, "--node-ip="+layout.NodeIP, "--v=1",
	)
}

// Proxy makes Services' addresses work.
func Proxy(l layout.Layout) Process {
	return kube(l, "kube-proxy", "--config="+l.Path("config/kube-proxy.yaml"))
}

// Containerd runs containers, with runc and with gVisor.
func Containerd(l layout.Layout) Process {
	return Process{
		Name: "containerd", Network: layout.NodeNamespace,
		Command: []string{l.Bin("containerd"), "--config", l.Path("config/containerd.toml")},
	}
}

// Enforcer makes NetworkPolicies hold.
func Enforcer(l layout.Layout) Process {
	return Process{
		Name: "enforcer", Network: layout.NodeNamespace,
		Command: []string{l.Bin("enforcer"), "--kubeconfig", Kubeconfig(l, "enforcer"), "--node", layout.NodeName, "--pod-cidr", layout.PodCIDR},
	}
}

// EnforcerTable is the nftables table, of family ip, in which the enforcer writes its rules.
const EnforcerTable = "cofferdam-network-policy"

// EnforcerFlush removes what the enforcer left in the packet filter.
func EnforcerFlush(l layout.Layout) []string {
	return append(Enforcer(l).Command, "--flush")
}

// Internet is the servers outside the cluster.
func Internet(l layout.Layout) Process {
	return Process{
		Name: "internet", Network: layout.InternetNamespace,
		Command: []string{l.Bin("internet"), "--state", l.Path("internet")},
	}
}

// Forwarder carries the ordinary shell's connections to the API server; it runs outside the node's network.
func Forwarder(l layout.Layout) Process {
	return Process{Name: "forwarder", Command: []string{l.Bin("cluster"), ForwardCommand}}
}

// ForwardCommand is the hidden subcommand that is the forwarder.
const ForwardCommand = "_forward"

func kube(l layout.Layout, component string, flags ...string) Process {
	return Process{
		Name: component, Network: layout.NodeNamespace,
		Command: append([]string{l.Bin("kube"), component}, flags...),
	}
}

// Kubeconfig is the file with which a component inside the node speaks to the API server.
func Kubeconfig(l layout.Layout, client string) string {
	return l.Path("config", client+".kubeconfig")
}

// All are the processes of a cluster.
func All(l layout.Layout) []Process {
	return []Process{
		Forwarder(l), Internet(l), Etcd(l), APIServer(l), Containerd(l), Enforcer(l), ControllerManager(l), Scheduler(l), Proxy(l), Kubelet(l),
	}
}
