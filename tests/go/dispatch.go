package main

import (
	"context"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

// dispatch makes a dispatch of the agent `text` in the room `who`, lists it, and takes it back.
func (p *person) dispatch(given command) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	service := lksdk.NewAgentDispatchServiceClient(given.URL, given.What[0], given.What[1])
	room := given.Who
	made, err := service.CreateDispatch(ctx, &livekit.CreateAgentDispatchRequest{Room: room, AgentName: given.Text, Metadata: "from Go"})
	if err != nil {
		return nil, err
	}
	listed, err := service.ListDispatch(ctx, &livekit.ListAgentDispatchRequest{Room: room, DispatchId: made.Id})
	if err != nil {
		return nil, err
	}
	workers := []string{}
	for _, dispatch := range listed.AgentDispatches {
		for _, job := range dispatch.State.Jobs {
			workers = append(workers, job.State.WorkerId)
		}
	}
	if _, err = service.DeleteDispatch(ctx, &livekit.DeleteAgentDispatchRequest{Room: room, DispatchId: made.Id}); err != nil {
		return nil, err
	}
	_, err = service.DeleteDispatch(ctx, &livekit.DeleteAgentDispatchRequest{Room: room, DispatchId: made.Id})
	return map[string]any{"id": made.Id, "name": made.AgentName, "listed": len(listed.AgentDispatches), "workers": workers, "again": err != nil}, nil
}
