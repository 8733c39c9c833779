//! The system calls of the media sockets: `recvmmsg` with UDP_GRO, `sendmmsg` with UDP_SEGMENT, `ppoll`, `eventfd`.
//!
//! Together with nothing else in this crate, this file holds `unsafe` code. Its functions take slices and plain values
//! and are safe to call with any of them.

use std::{
    io,
    mem::{MaybeUninit, size_of, zeroed},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use libc::{
    c_int, c_void, cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr, pollfd, sockaddr_in,
    sockaddr_in6,
};

/// The most messages of one `recvmmsg` or `sendmmsg`. Beyond this the cost of the call itself is lost in that of the
/// packets.
pub(super) const MAX_MESSAGES: usize = 64;

/// Control bytes of one message: room for packet info (40) and one integer (24), and as much again to spare.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 128]);

/// An address as the kernel reads and writes it: large enough for either family.
#[derive(Clone, Copy)]
#[repr(C)]
union Address {
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

/// One message that `receive` filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// Index of the message's buffer.
    pub(super) slot: usize,
    /// The sender.
    pub(super) remote: SocketAddr,
    /// The local address that it was sent to, where the socket tells.
    pub(super) local: Option<IpAddr>,
    /// Bytes in the message's buffer.
    pub(super) len: usize,
    /// Size of each datagram in the message but the last, which may be shorter.
    pub(super) segment: usize,
    /// The message was longer than its buffer: the rest is lost.
    pub(super) truncated: bool,
}

/// One message for `send`: a range of the slab, cut into datagrams of `segment` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// The receiver.
    pub(super) remote: SocketAddr,
    /// The local address to send from; the kernel's choice where `None`.
    pub(super) source: Option<IpAddr>,
    /// Offset of the first byte in the slab.
    pub(super) start: usize,
    /// Bytes in all.
    pub(super) len: usize,
    /// Size of each datagram but the last.
    pub(super) segment: usize,
}

/// Arrays that `receive` and `send` reuse, so that no call clears kilobytes.
pub(super) struct Scratch {
    headers: Box<[MaybeUninit<mmsghdr>; MAX_MESSAGES]>,
    vectors: Box<[MaybeUninit<iovec>; MAX_MESSAGES]>,
    addresses: Box<[MaybeUninit<Address>; MAX_MESSAGES]>,
    controls: Box<[Control; MAX_MESSAGES]>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            headers: Box::new([const { MaybeUninit::uninit() }; MAX_MESSAGES]),
            vectors: Box::new([const { MaybeUninit::uninit() }; MAX_MESSAGES]),
            addresses: Box::new([const { MaybeUninit::uninit() }; MAX_MESSAGES]),
            controls: Box::new([Control([0; 128]); MAX_MESSAGES]),
        }
    }
}

/// Receives up to [`MAX_MESSAGES`] messages without blocking, message `i` at `slab[i * stride..]`, at most `buffer`
/// bytes each. Returns what it wrote into `received`; `WouldBlock` when nothing waits.
///
/// # Panics
/// When `slab` is shorter than `MAX_MESSAGES * stride` or `buffer` is larger than `stride`.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    slab: &mut [u8],
    stride: usize,
    buffer: usize,
    scratch: &mut Scratch,
    received: &mut Vec<Received>,
) -> io::Result<()> {
    assert!(slab.len() >= MAX_MESSAGES * stride && buffer <= stride);
    received.clear();
    let base = slab.as_mut_ptr();
    for i in 0..MAX_MESSAGES {
        // SAFETY: `i * stride + buffer` is within `slab` by the assertion above.
        let start = unsafe { base.add(i * stride) };
        let vector = scratch.vectors[i].write(iovec {
            iov_base: start.cast::<c_void>(),
            iov_len: buffer,
        });
        let header = msghdr {
            msg_name: scratch.addresses[i].as_mut_ptr().cast::<c_void>(),
            msg_namelen: size_of::<Address>() as u32,
            msg_iov: vector,
            msg_iovlen: 1,
            msg_control: ptr::from_mut(&mut scratch.controls[i]).cast::<c_void>(),
            msg_controllen: size_of::<Control>(),
            msg_flags: 0,
        };
        scratch.headers[i].write(mmsghdr {
            msg_hdr: header,
            msg_len: 0,
        });
    }
    // SAFETY: all MAX_MESSAGES headers were initialised above and point to live, disjoint, writable memory of the
    // sizes they state; `slab` and `scratch` are borrowed for the whole call.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            scratch.headers.as_mut_ptr().cast::<mmsghdr>(),
            MAX_MESSAGES as u32,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    for i in 0..count as usize {
        // SAFETY: initialised above, then updated by the kernel.
        let header = unsafe { scratch.headers[i].assume_init_ref() };
        let name_len = header.msg_hdr.msg_namelen as usize;
        // SAFETY: the kernel wrote `name_len` bytes of an address; `read_address` looks no further.
        let Some(remote) = (unsafe { read_address(&scratch.addresses[i], name_len) }) else {
            continue;
        };
        let len = (header.msg_len as usize).min(buffer);
        // SAFETY: the header's control buffer is `scratch.controls[i]`, filled by the kernel.
        let (local, segment) = unsafe { read_control(&header.msg_hdr) };
        received.push(Received {
            slot: i,
            remote,
            local,
            len,
            segment: segment.filter(|&s| s > 0).unwrap_or(len),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        });
    }
    Ok(())
}

/// Sends the first [`MAX_MESSAGES`] of `messages`, which are ranges of `slab`, without blocking. Returns how many went
/// out; an error is the first message's.
///
/// # Panics
/// When a message is not within `slab`.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    slab: &[u8],
    messages: &[Message],
    scratch: &mut Scratch,
) -> io::Result<usize> {
    let count = messages.len().min(MAX_MESSAGES);
    for (i, message) in messages[..count].iter().enumerate() {
        let payload = &slab[message.start..message.start + message.len];
        // The kernel only reads what is sent; the type of `iov_base` serves both directions.
        let start = payload.as_ptr().cast_mut().cast::<c_void>();
        let vector = scratch.vectors[i].write(iovec {
            iov_base: start,
            iov_len: payload.len(),
        });
        let name_len = write_address(&mut scratch.addresses[i], message.remote);
        let control_len = write_control(&mut scratch.controls[i], message);
        let control = ptr::from_mut(&mut scratch.controls[i]).cast::<c_void>();
        let header = msghdr {
            msg_name: scratch.addresses[i].as_mut_ptr().cast::<c_void>(),
            msg_namelen: name_len,
            msg_iov: vector,
            msg_iovlen: 1,
            msg_control: if control_len == 0 {
                ptr::null_mut()
            } else {
                control
            },
            msg_controllen: control_len,
            msg_flags: 0,
        };
        scratch.headers[i].write(mmsghdr {
            msg_hdr: header,
            msg_len: 0,
        });
    }
    // SAFETY: the first `count` headers were initialised above; they point into `slab` and `scratch`, which are
    // borrowed for the whole call, with the lengths of what they point to.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            scratch.headers.as_mut_ptr().cast::<mmsghdr>(),
            count as u32,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(sent as usize)
    }
}

/// # Safety
/// The first `len` bytes of `address` are initialised.
unsafe fn read_address(address: &MaybeUninit<Address>, len: usize) -> Option<SocketAddr> {
    let start = address.as_ptr();
    if len < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: both members begin with the family, and at least that is initialised.
    let family = unsafe { (*start.cast::<sockaddr_in>()).sin_family };
    match i32::from(family) {
        libc::AF_INET if len >= size_of::<sockaddr_in>() => {
            // SAFETY: as many bytes are initialised.
            let v4 = unsafe { (*start).v4 };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(
                ip,
                u16::from_be(v4.sin_port),
            )))
        }
        libc::AF_INET6 if len >= size_of::<sockaddr_in6>() => {
            // SAFETY: as many bytes are initialised.
            let v6 = unsafe { (*start).v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(
                ip,
                u16::from_be(v6.sin6_port),
                0,
                v6.sin6_scope_id,
            )))
        }
        _ => None,
    }
}

fn write_address(address: &mut MaybeUninit<Address>, remote: SocketAddr) -> u32 {
    match remote {
        SocketAddr::V4(v4) => {
            let name = sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*v4.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            address.write(Address { v4: name });
            size_of::<sockaddr_in>() as u32
        }
        SocketAddr::V6(v6) => {
            let name = sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            address.write(Address { v6: name });
            size_of::<sockaddr_in6>() as u32
        }
    }
}

/// The local address and the GRO segment size of a received message.
///
/// # Safety
/// `header` was filled by `recvmmsg` and its control buffer is alive.
unsafe fn read_control(header: &msghdr) -> (Option<IpAddr>, Option<usize>) {
    let (mut local, mut segment) = (None, None);
    // SAFETY: the kernel set `msg_controllen` to what it wrote; the macros stay within it.
    let mut current: *const cmsghdr = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !current.is_null() {
        // SAFETY: a header returned by the macros lies wholly within the control buffer. Its data may be unaligned.
        unsafe {
            let data = libc::CMSG_DATA(current);
            match ((*current).cmsg_level, (*current).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<in_pktinfo>().read_unaligned();
                    local = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(
                        info.ipi_addr.s_addr,
                    ))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<in6_pktinfo>().read_unaligned();
                    local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    segment = usize::try_from(data.cast::<c_int>().read_unaligned()).ok();
                }
                _ => {}
            }
            current = libc::CMSG_NXTHDR(header, current);
        }
    }
    (local, segment)
}

/// Writes the source address and the segment size of `message`; returns the bytes used.
fn write_control(control: &mut Control, message: &Message) -> usize {
    let mut used = 0;
    match message.source {
        Some(IpAddr::V4(ip)) => {
            let info = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(ip).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += push_control(control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let info = in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            used += push_control(control, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    if message.len > message.segment {
        used += push_control(
            control,
            used,
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            message.segment as u16,
        );
    }
    used
}

fn push_control<T: Copy>(
    control: &mut Control,
    at: usize,
    level: c_int,
    kind: c_int,
    value: T,
) -> usize {
    // SAFETY: both are pure arithmetic.
    let (space, len) = unsafe {
        (
            libc::CMSG_SPACE(size_of::<T>() as u32) as usize,
            libc::CMSG_LEN(size_of::<T>() as u32) as usize,
        )
    };
    assert!(at + space <= control.0.len());
    // SAFETY: `at + space` bytes fit, by the assertion. `at` is a sum of CMSG_SPACE values, so the header is aligned
    // as the buffer is; the data is written unaligned.
    unsafe {
        let header = control.0.as_mut_ptr().add(at).cast::<cmsghdr>();
        header.write(cmsghdr {
            cmsg_level: level,
            cmsg_type: kind,
            ..zeroed()
        });
        (*header).cmsg_len = len;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
    }
    space
}

/// Sets an integer socket option.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast::<c_void>(),
            size_of::<c_int>() as u32,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A counter that another thread adds to and that `wait` sees as readable.
pub(super) fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to the counter.
pub(super) fn event_signal(event: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: writes eight bytes of a live array. It fails only when the counter is full: then it is readable anyway.
    unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast::<c_void>(), one.len()) };
}

/// Sets the counter to zero.
pub(super) fn event_clear(event: BorrowedFd<'_>) {
    let mut value = [0u8; 8];
    // SAFETY: reads at most eight bytes into a live array.
    unsafe {
        libc::read(
            event.as_raw_fd(),
            value.as_mut_ptr().cast::<c_void>(),
            value.len(),
        )
    };
}

/// An event that [`wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// The descriptor can be read.
    Readable,
    /// The descriptor can be written.
    Writable,
}

/// Waits until one of `fds` is ready or `timeout` has passed (`None`: for ever), and says which are; bit `i` is
/// `fds[i]`. An interrupted wait returns early with nothing ready. At most 32 descriptors.
pub(super) fn wait(
    fds: &[BorrowedFd<'_>],
    interest: Interest,
    timeout: Option<Duration>,
) -> io::Result<u32> {
    let events = match interest {
        Interest::Readable => libc::POLLIN,
        Interest::Writable => libc::POLLOUT,
    };
    let mut polled = [pollfd {
        fd: -1,
        events: 0,
        revents: 0,
    }; 32];
    let polled = &mut polled[..fds.len().min(32)];
    for (slot, fd) in polled.iter_mut().zip(fds) {
        *slot = pollfd {
            fd: fd.as_raw_fd(),
            events,
            revents: 0,
        };
    }
    let time = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().min(3600) as libc::time_t,
        tv_nsec: t.subsec_nanos() as libc::c_long,
    });
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `polled` is a live array of the stated length, `time` is null or points to a live value.
    let ready = unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            time,
            ptr::null(),
        )
    };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok(0)
        } else {
            Err(error)
        };
    }
    Ok(polled
        .iter()
        .enumerate()
        .filter(|(_, p)| p.revents != 0)
        .fold(0, |bits, (i, _)| bits | 1 << i))
}
