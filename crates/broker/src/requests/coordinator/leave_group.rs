//! LeaveGroup: of one member up to version 2, of several from version 3 on.

use onrush_runtime::Instant;
use onrush_wire::message::leave_group::request::MemberIdentity;
use onrush_wire::message::leave_group::response::MemberResponse;
use onrush_wire::message::leave_group::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::Core;
use crate::groups::classic::Leaving;

/// The first version in which several leave, each with an answer of its own.
const SEVERAL: i16 = 3;

impl Core {
    pub(crate) fn leave_group(&mut self, now: Instant, version: i16, request: Request) -> Response {
        let id = request.group_id.as_str();
        let members = match version {
            SEVERAL.. => request.members,
            _ => vec![MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() }],
        };
        let left = match self.leave(now, id, &members) {
            Ok(left) => left,
            // The group is not there: nor is anybody in it.
            Err(ErrorCode::UNKNOWN_MEMBER_ID) => {
                vec![Err(ErrorCode::UNKNOWN_MEMBER_ID); members.len()]
            }
            Err(error) => return Response { error_code: error.0, ..Response::default() },
        };
        let codes = left.iter().map(|left| left.err().unwrap_or(ErrorCode::NONE).0);
        if version < SEVERAL {
            let error_code = codes.max().unwrap_or(ErrorCode::NONE.0);
            return Response { error_code, ..Response::default() };
        }
        let answer = |(member, error_code): (&MemberIdentity, i16)| MemberResponse {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            error_code,
            ..MemberResponse::default()
        };
        Response { members: members.iter().zip(codes).map(answer).collect(), ..Response::default() }
    }

    fn leave(
        &mut self,
        now: Instant,
        id: &str,
        members: &[MemberIdentity],
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        let limits = self.limits();
        let leaving = members.iter().map(|member| Leaving {
            member_id: member.member_id.as_str(),
            instance: member.group_instance_id.as_ref().map(KafkaString::as_str),
        });
        let leaving: Vec<_> = leaving.collect();
        let left = self.classic_group(now, id)?.leave(now, limits, &leaving);
        for (member, left) in leaving.iter().zip(&left) {
            tracing::info!(group = id, ?member, ?left, "a member leaves the group");
        }
        self.publish(now, id);
        Ok(left)
    }
}
