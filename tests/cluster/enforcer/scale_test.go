package main

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTwoHundredPodsAreQuick(t *testing.T) {
	n := newNetwork(t)
	pods := append([]*corev1.Pod{}, bothPods...)
	policies := []*networkingv1.NetworkPolicy{noEgress("heron"), noIngress("stork")}
	for index := range 198 {
		name := fmt.Sprintf("gull-%d", index)
		pods = append(pods, pod(name, netip.AddrFrom4([4]byte{10, 8, 1, byte(index)}).String()))
		policies = append(policies, noIngress(name, networkingv1.NetworkPolicyIngressRule{
			From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}))
	}
	for range 3 {
		took := n.put(t, pods, policies...)
		t.Logf("200 pods, 200 policies: %s", took)
		if took > 2*time.Second {
			t.Errorf("programming took %s", took)
		}
		n.put(t, bothPods)
	}
}
