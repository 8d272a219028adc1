//! Which instructions other processes can notice: those that touch the region, and system calls.

use std::collections::HashMap;

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Register, UsedMemory,
};

use super::liveness::Mappings;
use super::sys::Pid;
use super::trace::{Registers, read_memory};

/// Decodes instructions, each address once.
pub(super) struct Touch {
    decoded: HashMap<u64, Instruction>,
    factory: InstructionInfoFactory,
}

impl std::fmt::Debug for Touch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Touch").field("decoded", &self.decoded.len()).finish_non_exhaustive()
    }
}

impl Touch {
    pub(super) fn new() -> Touch {
        Touch { decoded: HashMap::new(), factory: InstructionInfoFactory::new() }
    }

    /// Will the next instruction of the stopped process `pid` touch one of the mappings?
    pub(super) fn is_near(&mut self, pid: Pid, regs: &Registers, region: &Mappings) -> bool {
        let instruction = *self.decoded.entry(regs.rip).or_insert_with(|| decode(pid, regs.rip));
        let info = self.factory.info(&instruction);
        info.used_memory().iter().any(|memory| match address(memory, regs) {
            Some(address) => region.offset(address).is_some(),
            // An addressing form that is not understood here: better one switch too many.
            None => true,
        })
    }
}

fn decode(pid: Pid, at: u64) -> Instruction {
    // The longest instruction has 15 bytes; it may end right before an unmapped page.
    let mut code = [0_u8; 15];
    let len = (1..=15).rev().find(|len| read_memory(pid, at, &mut code[..*len]).is_ok());
    let code = &code[..len.unwrap_or(0)];
    Decoder::with_ip(64, code, at, DecoderOptions::NONE).decode()
}

fn address(memory: &UsedMemory, regs: &Registers) -> Option<u64> {
    memory.virtual_address(0, |register, _, _| value(register, regs))
}

/// The value of a register that takes part in an address.
fn value(register: Register, regs: &Registers) -> Option<u64> {
    let full = match register {
        Register::ES | Register::CS | Register::SS | Register::DS => return Some(0),
        Register::FS => return Some(regs.fs_base),
        Register::GS => return Some(regs.gs_base),
        other => other.full_register(),
    };
    let whole = match full {
        Register::RAX => regs.rax,
        Register::RBX => regs.rbx,
        Register::RCX => regs.rcx,
        Register::RDX => regs.rdx,
        Register::RSI => regs.rsi,
        Register::RDI => regs.rdi,
        Register::RBP => regs.rbp,
        Register::RSP => regs.rsp,
        Register::R8 => regs.r8,
        Register::R9 => regs.r9,
        Register::R10 => regs.r10,
        Register::R11 => regs.r11,
        Register::R12 => regs.r12,
        Register::R13 => regs.r13,
        Register::R14 => regs.r14,
        Register::R15 => regs.r15,
        Register::RIP => regs.rip,
        _ => return None,
    };
    Some(if register.size() == 4 { whole & 0xffff_ffff } else { whole })
}
