//! Packets for the server: taken from a participant only where one is awaited.

use std::time::Duration;

use crate::rig::Rig;
use protocol::{livekit, prost::Message};
use sfu::{DataCommand, Event};

const SECOND: Duration = Duration::from_secs(1);

fn packet(to: &[&str]) -> Vec<u8> {
    livekit::DataPacket {
        destination_identities: to.iter().map(|to| to.to_string()).collect(),
        value: Some(livekit::data_packet::Value::RpcAck(Default::default())),
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn an_awaited_packet_to_oneself_is_the_servers_to_read_and_no_more_than_that() {
    let mut rig = Rig::new(30);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    let send = |rig: &mut Rig, to: &[&str]| {
        let now = rig.now;
        rig.participants[a]
            .connection
            .send_data(client::DataChannel::Reliable, &packet(to), now)
            .unwrap();
        rig.run(SECOND);
        let replies = rig.events.iter();
        replies
            .filter(|event| matches!(event, Event::Reply { .. }))
            .count()
    };
    assert_eq!(send(&mut rig, &["identity-0"]), 0, "none is awaited");
    let peer = rig.participants[a].sid;
    rig.command(DataCommand::AwaitReply { peer });
    assert_eq!(send(&mut rig, &["identity-1"]), 0, "for somebody else");
    assert_eq!(send(&mut rig, &["identity-0", "identity-1"]), 0, "for both");
    assert_eq!(send(&mut rig, &["identity-0"]), 1);
    assert_eq!(send(&mut rig, &["identity-0"]), 2);
    assert_eq!(send(&mut rig, &["identity-0"]), 2, "no more are awaited");
    let payload = packet(&["identity-0"]);
    assert!(rig.events.contains(&Event::Reply { peer, payload }));
    assert_eq!(rig.participants[b].data.len(), 2);
}
