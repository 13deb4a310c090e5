// Command example finds a chart by a chartcache, whose address is its argument, and pulls it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/ketches/helm-operator/chartcache/client"
)

func main() {
	cache, err := client.New(client.Config{Target: os.Args[1]})
	check(err)
	ctx, source := context.Background(), client.Named("default", "bitnami")

	list, err := cache.ListCharts(ctx, source, client.ListChartsOptions{Query: "redis"})
	check(err)
	for _, chart := range list.Charts {
		fmt.Println("listed", chart.Name, chart.Latest.Version)
	}

	found, err := cache.Resolve(ctx, client.ChartRequest{Source: source, Chart: "redis", Version: "^20.0.0"})
	check(err)
	fmt.Println("resolved", found.Version.Version, found.Version.Digest)

	file, err := os.Create("redis.tgz")
	check(err)
	pulled, err := cache.Download(ctx, client.ChartRequest{Source: source, Chart: "redis", Digest: found.Version.Digest}, file)
	check(err)
	fmt.Println("pulled and verified", pulled.SizeBytes, "bytes")
	check(file.Close())
	check(cache.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
